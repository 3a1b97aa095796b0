# %% right: first fit
def pack(rows, size):
    packs = []
    for row in sorted(rows, key=len, reverse=True):
        for members in packs:
            if sum(map(len, members)) + len(row) <= size:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.concatenate([np.arange(len(row)) for row in members])
        reads = np.tril(owner[:, None] == owner)
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made


# %% right: loops
def pack(rows, size):
    bins = []
    for row in sorted(rows, key=lambda r: -len(r)):
        place = next((b for b in bins if b["left"] >= len(row)), None)
        if place is None:
            place = {"left": size, "rows": []}
            bins.append(place)
        place["rows"].append(row)
        place["left"] -= len(row)
    out = []
    for b in bins:
        tokens, positions, owner = [], [], []
        for number, row in enumerate(b["rows"]):
            for position, token in enumerate(row):
                tokens.append(token), positions.append(position), owner.append(number)
        n = len(tokens)
        reads = [[owner[i] == owner[j] and j <= i for j in range(n)] for i in range(n)]
        out.append({"tokens": tokens, "positions": positions, "reads": reads})
    return out


# %% right: best fit
def pack(rows, size):
    groups = []
    for row in sorted(rows, key=len)[::-1]:
        fits = [g for g in groups if len(np.concatenate(g)) + len(row) <= size]
        if fits:
            max(fits, key=lambda g: len(np.concatenate(g))).append(row)
        else:
            groups.append([row])
    packs = []
    for g in groups:
        n = sum(len(r) for r in g)
        reads, positions, at = np.zeros((n, n), bool), np.zeros(n, int), 0
        for r in g:
            k = len(r)
            reads[at : at + k, at : at + k] = np.tri(k, dtype=bool)
            positions[at : at + k] = range(k)
            at += k
        packs.append(dict(reads=reads, positions=positions, tokens=sum(g, [])))
    return packs


# %% wrong: positions run on | the positions run on
def pack(rows, size):
    packs = []
    for row in sorted(rows, key=len, reverse=True):
        for members in packs:
            if sum(map(len, members)) + len(row) <= size:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.arange(len(owner))
        reads = np.tril(owner[:, None] == owner)
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made


# %% wrong: positions from 1 | the positions begin at 1
def pack(rows, size):
    packs = []
    for row in sorted(rows, key=len, reverse=True):
        for members in packs:
            if sum(map(len, members)) + len(row) <= size:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.concatenate([1 + np.arange(len(row)) for row in members])
        reads = np.tril(owner[:, None] == owner)
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made


# %% wrong: rows read each other | the rows read each other
def pack(rows, size):
    packs = []
    for row in sorted(rows, key=len, reverse=True):
        for members in packs:
            if sum(map(len, members)) + len(row) <= size:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.concatenate([np.arange(len(row)) for row in members])
        reads = np.tril(np.ones((len(owner), len(owner)), dtype=bool))
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made


# %% wrong: reads ahead | tokens read what comes after them
def pack(rows, size):
    packs = []
    for row in sorted(rows, key=len, reverse=True):
        for members in packs:
            if sum(map(len, members)) + len(row) <= size:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.concatenate([np.arange(len(row)) for row in members])
        reads = owner[:, None] == owner
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made


# %% wrong: transposed | reads is transposed
def pack(rows, size):
    packs = []
    for row in sorted(rows, key=len, reverse=True):
        for members in packs:
            if sum(map(len, members)) + len(row) <= size:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.concatenate([np.arange(len(row)) for row in members])
        reads = np.triu(owner[:, None] == owner)
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made


# %% wrong: not itself | a token reads itself, too
def pack(rows, size):
    packs = []
    for row in sorted(rows, key=len, reverse=True):
        for members in packs:
            if sum(map(len, members)) + len(row) <= size:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.concatenate([np.arange(len(row)) for row in members])
        reads = np.tril(owner[:, None] == owner, k=-1)
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made


# %% wrong: one row a pack | every row has a pack of its own
def pack(rows, size):
    packs = []
    for row in sorted(rows, key=len, reverse=True):
        for members in packs:
            if False:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.concatenate([np.arange(len(row)) for row in members])
        reads = np.tril(owner[:, None] == owner)
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made


# %% wrong: too full | holds more than
def pack(rows, size):
    packs = []
    for row in sorted(rows, key=len, reverse=True):
        for members in packs:
            if sum(map(len, members)) <= size:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.concatenate([np.arange(len(row)) for row in members])
        reads = np.tril(owner[:, None] == owner)
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made


# %% wrong: one stream | split over two packs
def pack(rows, size):
    stream = [token for row in rows for token in row]
    owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    places = np.concatenate([np.arange(len(row)) for row in rows])
    made = []
    for start in range(0, len(stream), size):
        part = slice(start, start + size)
        reads = np.tril(owner[part, None] == owner[part])
        made.append({"tokens": stream[part], "positions": places[part], "reads": reads})
    return made


# %% wrong: in the order given | begin with the longest rows
def pack(rows, size):
    packs = []
    for row in rows:
        for members in packs:
            if sum(map(len, members)) + len(row) <= size:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.concatenate([np.arange(len(row)) for row in members])
        reads = np.tril(owner[:, None] == owner)
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made


# %% wrong: cut rows | lost some of its tokens
def pack(rows, size):
    packs = []
    for row in sorted([row[:8] for row in rows], key=len, reverse=True):
        for members in packs:
            if sum(map(len, members)) + len(row) <= size:
                members.append(row)
                break
        else:
            packs.append([row])
    made = []
    for members in packs:
        owner = np.repeat(np.arange(len(members)), [len(row) for row in members])
        positions = np.concatenate([np.arange(len(row)) for row in members])
        reads = np.tril(owner[:, None] == owner)
        made.append({"tokens": np.concatenate(members), "positions": positions, "reads": reads})
    return made
