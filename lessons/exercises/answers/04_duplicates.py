# %% right: merging groups
def keep(texts, threshold):
    triples = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        triples.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    group = list(range(len(texts)))
    for j in range(len(texts)):
        for i in range(j):
            if len(triples[i] & triples[j]) / len(triples[i] | triples[j]) >= threshold:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if number == old else number for number in group]
    return [place for place, number in enumerate(group) if number == place]


# %% right: union find
def grams(text):
    w = re.findall(r"\w+", text.casefold())
    return set(zip(w, w[1:], w[2:]))



def keep(texts, threshold):
    sets, parent = [grams(t) for t in texts], list(range(len(texts)))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i, a in enumerate(sets):
        for j, b in enumerate(sets[:i]):
            if len(a & b) >= threshold * len(a | b) - 1e-12:
                parent[max(root(i), root(j))] = min(root(i), root(j))
    return [i for i in range(len(texts)) if root(i) == i]


# %% right: matrix
def grams(text):
    w = re.findall(r"\w+", text.casefold())
    return set(zip(w, w[1:], w[2:]))



def keep(texts, threshold):
    sets = [grams(t) for t in texts]
    names = {g: n for n, g in enumerate(sorted(set().union(*sets)))}
    has = np.zeros((len(texts), len(names)))
    for row, found in zip(has, sets):
        row[[names[g] for g in found]] = 1
    both = has @ has.T
    either = has.sum(1)[:, None] + has.sum(1) - both
    alike = both / either >= threshold
    reach = np.linalg.matrix_power(alike.astype(float), len(texts)) > 0
    return np.flatnonzero(reach.argmax(1) == np.arange(len(texts)))


# %% wrong: no chains | near copies of near copies
def grams(text):
    w = re.findall(r"\w+", text.casefold())
    return set(zip(w, w[1:], w[2:]))



def keep(texts, threshold):
    sets, kept = [grams(t) for t in texts], []
    for i, a in enumerate(sets):
        if all(len(a & sets[j]) / len(a | sets[j]) < threshold for j in kept):
            kept.append(i)
    return kept


# %% wrong: more than | at least, not more than
def keep(texts, threshold):
    triples = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        triples.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    group = list(range(len(texts)))
    for j in range(len(texts)):
        for i in range(j):
            if len(triples[i] & triples[j]) / len(triples[i] | triples[j]) > threshold:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if number == old else number for number in group]
    return [place for place, number in enumerate(group) if number == place]


# %% wrong: dressed | case and punctuation make no difference
def keep(texts, threshold):
    triples = []
    for text in texts:
        words = text.split()
        triples.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    group = list(range(len(texts)))
    for j in range(len(texts)):
        for i in range(j):
            if len(triples[i] & triples[j]) / len(triples[i] | triples[j]) >= threshold:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if number == old else number for number in group]
    return [place for place, number in enumerate(group) if number == place]


# %% wrong: case | case makes no difference
def keep(texts, threshold):
    triples = []
    for text in texts:
        words = re.findall(r"\w+", text)
        triples.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    group = list(range(len(texts)))
    for j in range(len(texts)):
        for i in range(j):
            if len(triples[i] & triples[j]) / len(triples[i] | triples[j]) >= threshold:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if number == old else number for number in group]
    return [place for place, number in enumerate(group) if number == place]


# %% wrong: pairs | those are pairs of words
def keep(texts, threshold):
    triples = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        triples.append({tuple(words[i : i + 2]) for i in range(len(words) - 1)})
    group = list(range(len(texts)))
    for j in range(len(texts)):
        for i in range(j):
            if len(triples[i] & triples[j]) / len(triples[i] | triples[j]) >= threshold:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if number == old else number for number in group]
    return [place for place, number in enumerate(group) if number == place]


# %% wrong: single words | those are single words
def keep(texts, threshold):
    triples = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        triples.append(set(words))
    group = list(range(len(texts)))
    for j in range(len(texts)):
        for i in range(j):
            if len(triples[i] & triples[j]) / len(triples[i] | triples[j]) >= threshold:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if number == old else number for number in group]
    return [place for place, number in enumerate(group) if number == place]


# %% wrong: shorter | divide by the shorter
def keep(texts, threshold):
    triples = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        triples.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    group = list(range(len(texts)))
    for j in range(len(texts)):
        for i in range(j):
            if len(triples[i] & triples[j]) / min(len(triples[i]), len(triples[j])) >= threshold:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if number == old else number for number in group]
    return [place for place, number in enumerate(group) if number == place]


# %% wrong: letters | only texts equal to the letter
def keep(texts, threshold):
    return [i for i, text in enumerate(texts) if text not in texts[:i]]


# %% wrong: keeps the last | you keep the last
def keep(texts, threshold):
    triples = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        triples.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    group = list(range(len(texts)))
    for j in range(len(texts)):
        for i in range(j):
            if len(triples[i] & triples[j]) / len(triples[i] | triples[j]) >= threshold:
                old, new = min(group[i], group[j]), max(group[i], group[j])
                group = [new if number == old else number for number in group]
    return [place for place, number in enumerate(group) if number == place]


# %% wrong: the copies | the texts to keep are asked for
def keep(texts, threshold):
    triples = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        triples.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    group = list(range(len(texts)))
    for j in range(len(texts)):
        for i in range(j):
            if len(triples[i] & triples[j]) / len(triples[i] | triples[j]) >= threshold:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if number == old else number for number in group]
    return [place for place, number in enumerate(group) if number != place]
