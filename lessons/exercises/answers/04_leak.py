# %% right: numpy
def without_leak(train, test, right):
    words = [" ".join(re.findall(r"\w+", text.lower())) for text in train]
    leaked = np.array([" ".join(re.findall(r"\w+", text.lower())) in words for text in test])
    clean = right[~leaked].mean() if not leaked.all() else None
    return {"leaked": leaked.sum(), "score": right.mean(), "clean": clean}


# %% right: sets
def without_leak(train, test, right):
    def bare(text):
        return tuple(re.findall(r"\w+", text.casefold()))

    known = {bare(t) for t in train}
    rest = [bool(r) for t, r in zip(test, right) if bare(t) not in known]
    return {"clean": sum(rest) / len(rest) if rest else None, "score": sum(map(bool, right)) / len(test), "leaked": len(test) - len(rest)}


# %% right: loop
def without_leak(train, test, right):
    def plain(text):
        return re.sub(r"[\W_]+", " ", text.lower()).strip()

    seen = set(map(plain, train))
    leaked = points = clean = 0
    for question, good in zip(test, right):
        if plain(question) in seen:
            leaked += 1
        elif good:
            clean += 1
        points += int(good)
    rest = len(test) - leaked
    return {"leaked": leaked, "score": points / len(test), "clean": clean / rest if rest else None}


# %% wrong: to the letter | copies to the letter
def without_leak(train, test, right):
    words = [text for text in train]
    leaked = np.array([text in words for text in test])
    clean = right[~leaked].mean() if not leaked.all() else None
    return {"leaked": leaked.sum(), "score": right.mean(), "clean": clean}


# %% wrong: bag of words | another order
def without_leak(train, test, right):
    words = [" ".join(sorted(re.findall(r"\w+", text.lower()))) for text in train]
    leaked = np.array([" ".join(sorted(re.findall(r"\w+", text.lower()))) in words for text in test])
    clean = right[~leaked].mean() if not leaked.all() else None
    return {"leaked": leaked.sum(), "score": right.mean(), "clean": clean}


# %% wrong: training rows | those are training rows
def without_leak(train, test, right):
    words = [" ".join(re.findall(r"\w+", text.lower())) for text in train]
    leaked = np.array([" ".join(re.findall(r"\w+", text.lower())) in words for text in test])
    clean = right[~leaked].mean() if not leaked.all() else None
    return {"leaked": sum(w in [" ".join(re.findall(r"\w+", t.lower())) for t in test] for w in words), "score": right.mean(), "clean": clean}


# %% wrong: leaked score | the leaked questions' score
def without_leak(train, test, right):
    words = [" ".join(re.findall(r"\w+", text.lower())) for text in train]
    leaked = np.array([" ".join(re.findall(r"\w+", text.lower())) in words for text in test])
    clean = right[leaked].mean() if not leaked.all() else None
    return {"leaked": leaked.sum(), "score": right.mean(), "clean": clean}


# %% wrong: divides by all | divide by the number of clean questions
def without_leak(train, test, right):
    words = [" ".join(re.findall(r"\w+", text.lower())) for text in train]
    leaked = np.array([" ".join(re.findall(r"\w+", text.lower())) in words for text in test])
    clean = right[~leaked].sum() / len(test) if not leaked.all() else None
    return {"leaked": leaked.sum(), "score": right.mean(), "clean": clean}


# %% wrong: gain | that is what the leak adds
def without_leak(train, test, right):
    words = [" ".join(re.findall(r"\w+", text.lower())) for text in train]
    leaked = np.array([" ".join(re.findall(r"\w+", text.lower())) in words for text in test])
    clean = right.mean() - right[~leaked].mean() if not leaked.all() else None
    return {"leaked": leaked.sum(), "score": right.mean(), "clean": clean}


# %% wrong: clean for all | the score is that of all questions
def without_leak(train, test, right):
    words = [" ".join(re.findall(r"\w+", text.lower())) for text in train]
    leaked = np.array([" ".join(re.findall(r"\w+", text.lower())) in words for text in test])
    clean = right[~leaked].mean() if not leaked.all() else None
    return {"leaked": leaked.sum(), "score": right[~leaked].mean() if not leaked.all() else 0.0, "clean": clean}


# %% wrong: nan | no question is clean
def without_leak(train, test, right):
    words = [" ".join(re.findall(r"\w+", text.lower())) for text in train]
    leaked = np.array([" ".join(re.findall(r"\w+", text.lower())) in words for text in test])
    clean = right[~leaked].mean()
    return {"leaked": leaked.sum(), "score": right.mean(), "clean": clean}


# %% wrong: share leaked | the number of leaked questions is asked for
def without_leak(train, test, right):
    words = [" ".join(re.findall(r"\w+", text.lower())) for text in train]
    leaked = np.array([" ".join(re.findall(r"\w+", text.lower())) in words for text in test])
    clean = right[~leaked].mean() if not leaked.all() else None
    return {"leaked": leaked.mean(), "score": right.mean(), "clean": clean}
