# %% right: walk
def labels_of(ids, special):
    labels, inside = [], False
    for token in ids:
        labels.append(token if inside else -100)
        if token == special["assistant"]:
            inside = True
        elif token == special["end"]:
            inside = False
    return labels


# %% right: slices
def labels_of(ids, special):
    out = [-100] * len(ids)
    for i, token in enumerate(ids):
        if token == special["assistant"]:
            stop = ids.index(special["end"], i) + 1
            out[i + 1 : stop] = ids[i + 1 : stop]
    return out


# %% right: numpy
def labels_of(ids, special):
    ids = np.array(ids)
    opened = np.cumsum(ids == special["assistant"])
    before = np.cumsum(ids == special["end"]) - (ids == special["end"])
    asked = np.cumsum(ids == special["user"])
    inside = (opened == asked) & (before == asked + opened - 1) & (ids != special["assistant"])
    return np.where(inside, ids, -100)


# %% right: text
def labels_of(tokens, names):
    text = "".join({names["assistant"]: "a", names["end"]: "e", names["user"]: "u"}.get(t, ".") for t in tokens)
    wanted = {i for found in re.finditer("a([.]*e)", text) for i in range(*found.span(1))}
    return [t if i in wanted else -100 for i, t in enumerate(tokens)]


# %% wrong: no end | the end token after an answer has no label
def labels_of(ids, special):
    labels, inside = [], False
    for token in ids:
        labels.append(token if inside and token != special['end'] else -100)
        if token == special["assistant"]:
            inside = True
        elif token == special["end"]:
            inside = False
    return labels


# %% wrong: loss on everything | loss on everything
def labels_of(ids, special):
    labels, inside = [], False
    for token in ids:
        labels.append(token)
        if token == special["assistant"]:
            inside = True
        elif token == special["end"]:
            inside = False
    return labels


# %% wrong: padding | the padding has labels
def labels_of(ids, special):
    labels, inside, answered = [], False, False
    for token in ids:
        labels.append(token if inside or (labels and ids[len(labels) - 1] == token == special['end']) else -100)
        if token == special["assistant"]:
            inside = True
        elif token == special["end"]:
            inside = False
    return labels


# %% wrong: ends of questions | the questions' end tokens have labels
def labels_of(ids, special):
    labels, inside = [], False
    for token in ids:
        labels.append(token if inside or (token == special['end'] and ids[len(labels) - 1] != token) else -100)
        if token == special["assistant"]:
            inside = True
        elif token == special["end"]:
            inside = False
    return labels


# %% wrong: only the last | only the last answer has labels
def labels_of(ids, special):
    first = len(ids) - 1 - ids[::-1].index(special["assistant"])
    stop = ids.index(special["end"], first)
    return [token if first < i <= stop else -100 for i, token in enumerate(ids)]


# %% wrong: from the first answer on | everything from the first answer on
def labels_of(ids, special):
    first = ids.index(special["assistant"])
    return [token if i > first else -100 for i, token in enumerate(ids)]


# %% wrong: role token | the assistant's token has a label
def labels_of(ids, special):
    labels, inside = [], False
    for token in ids:
        labels.append(token if inside or token == special['assistant'] else -100)
        if token == special["assistant"]:
            inside = True
        elif token == special["end"]:
            inside = False
    return labels


# %% wrong: shifted | the labels are shifted
def labels_of(ids, special):
    labels, inside = [], False
    for token in ids:
        labels.append(token if inside else -100)
        if token == special["assistant"]:
            inside = True
        elif token == special["end"]:
            inside = False
    return labels[1:] + [-100]


# %% wrong: zeros | 0 is a token like any other
def labels_of(ids, special):
    labels, inside = [], False
    for token in ids:
        labels.append(token if inside else 0)
        if token == special["assistant"]:
            inside = True
        elif token == special["end"]:
            inside = False
    return labels


# %% wrong: questions | on the questions in place of the answers
def labels_of(ids, special):
    labels, inside = [], False
    for token in ids:
        labels.append(token if inside else -100)
        if token == special["user"]:
            inside = True
        elif token == special["end"]:
            inside = False
    return labels
