# %% right: loop
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] < least:
            out[name] = "wrong"
        elif way["later"] < least:
            out[name] = "stale"
        elif sources and way["cited"] < least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = min(left, key=lambda name: ways[name]["tokens"]) if left else None
    return {"choice": choice, "out": out}


# %% right: comprehensions
def choose(options, bar, must_cite):
    def reason(m):
        tests = [("wrong", m["today"]), ("stale", m["later"])] + [("no source", m["cited"])] * bool(must_cite)
        return next((why for why, share in tests if not share >= bar), None)

    why = {name: reason(m) for name, m in options.items()}
    good = sorted((n for n in options if why[n] is None), key=lambda n: options[n]["tokens"])
    return {"out": {n: w for n, w in why.items() if w}, "choice": good[0] if good else None}


# %% right: numpy
def choose(ways, least, sources):
    names = list(ways)
    shares = np.array([[ways[n]["today"], ways[n]["later"], ways[n]["cited"] if sources else 1.0] for n in names])
    fails = shares < least
    reasons = np.array(["wrong", "stale", "no source"])
    out = {n: str(reasons[f.argmax()]) for n, f in zip(names, fails) if f.any()}
    costs = np.where(fails.any(axis=1), np.inf, [ways[n]["tokens"] for n in names])
    return {"choice": None if np.isinf(costs).all() else names[costs.argmin()], "out": out}


# %% wrong: only today | may be stale tomorrow
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] < least:
            out[name] = "wrong"
        elif sources and way["cited"] < least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = min(left, key=lambda name: ways[name]["tokens"]) if left else None
    return {"choice": choice, "out": out}


# %% wrong: forgets sources | sources are required here
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] < least:
            out[name] = "wrong"
        elif way["later"] < least:
            out[name] = "stale"
        elif False and way["cited"] < least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = min(left, key=lambda name: ways[name]["tokens"]) if left else None
    return {"choice": choice, "out": out}


# %% wrong: always sources | nobody asks for sources here
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] < least:
            out[name] = "wrong"
        elif way["later"] < least:
            out[name] = "stale"
        elif way["cited"] < least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = min(left, key=lambda name: ways[name]["tokens"]) if left else None
    return {"choice": choice, "out": out}


# %% wrong: more than | at least, not more than
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] <= least:
            out[name] = "wrong"
        elif way["later"] <= least:
            out[name] = "stale"
        elif sources and way["cited"] <= least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = min(left, key=lambda name: ways[name]["tokens"]) if left else None
    return {"choice": choice, "out": out}


# %% wrong: mean | hides a bad day
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] < least:
            out[name] = "wrong"
        elif (way["today"] + way["later"]) / 2 < least:
            out[name] = "stale"
        elif sources and way["cited"] < least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = min(left, key=lambda name: ways[name]["tokens"]) if left else None
    return {"choice": choice, "out": out}


# %% wrong: most right | not the most often right
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] < least:
            out[name] = "wrong"
        elif way["later"] < least:
            out[name] = "stale"
        elif sources and way["cited"] < least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = max(left, key=lambda name: ways[name]["today"]) if left else None
    return {"choice": choice, "out": out}


# %% wrong: dearest | yours has the most
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] < least:
            out[name] = "wrong"
        elif way["later"] < least:
            out[name] = "stale"
        elif sources and way["cited"] < least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = max(left, key=lambda name: ways[name]["tokens"]) if left else None
    return {"choice": choice, "out": out}


# %% wrong: last of equals | the first one is wanted
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] < least:
            out[name] = "wrong"
        elif way["later"] < least:
            out[name] = "stale"
        elif sources and way["cited"] < least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = min(left[::-1], key=lambda name: ways[name]["tokens"]) if left else None
    return {"choice": choice, "out": out}


# %% wrong: source first | in the order wrong, stale, no source
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if sources and way["cited"] < least:
            out[name] = "no source"
        elif way["later"] < least:
            out[name] = "stale"
        elif way["today"] < least:
            out[name] = "wrong"
    left = [name for name in ways if name not in out]
    return {"choice": min(left, key=lambda name: ways[name]["tokens"]) if left else None, "out": out}


# %% wrong: never none | no way is left here
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] < least:
            out[name] = "wrong"
        elif way["later"] < least:
            out[name] = "stale"
        elif sources and way["cited"] < least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = min(left, key=lambda name: ways[name]["tokens"]) if left else min(ways, key=lambda name: ways[name]['tokens'])
    return {"choice": choice, "out": out}


# %% wrong: cheapest of all | the cheapest of all is not good enough
def choose(ways, least, sources):
    out = {}
    for name, way in ways.items():
        if way["today"] < least:
            out[name] = "wrong"
        elif way["later"] < least:
            out[name] = "stale"
        elif sources and way["cited"] < least:
            out[name] = "no source"
    left = [name for name in ways if name not in out]
    choice = min(ways, key=lambda name: ways[name]["tokens"]) if left else None
    return {"choice": choice, "out": out}
