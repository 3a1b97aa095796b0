# %% right: word by word
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = np.log(1 + (count - n + 0.5) / (n + 0.5))
        scores += rarity * times / (times + k1 * (1 - b + b * lengths / lengths.mean()))
    return scores


# %% right: loops
from math import log


def bm25(query, docs, k, b):
    mean = sum(map(len, docs)) / len(docs)
    out = []
    for doc in docs:
        score = 0.0
        for word in query:
            n = sum(word in d for d in docs)
            f = doc.count(word)
            score += log((len(docs) + 1) / (n + 0.5)) * f / (f + k * (1 - b + b * len(doc) / mean))
        out.append(score)
    return out


# %% right: matrix
def bm25(query, documents, k1, b):
    f = np.array([[d.count(w) for w in query] for d in documents], dtype=np.float32)
    n = np.count_nonzero(f, axis=0)
    idf = np.log1p((len(f) - n + 0.5) / (n + 0.5))
    length = np.array(list(map(len, documents)))[:, None]
    return (f / (f + k1 * (1 - b + b * length / length.mean()))) @ idf


# %% right: bm25s
import bm25s


def bm25(query, documents, k1, b):
    ranker = bm25s.BM25(k1=k1, b=b)
    ranker.index(documents, show_progress=False)
    return ranker.get_scores([word for word in query if any(word in document for document in documents)])


# %% wrong: no rarity | all words weigh the same
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = 1.0
        scores += rarity * times / (times + k1 * (1 - b + b * lengths / lengths.mean()))
    return scores


# %% wrong: no 1 + | less than nothing
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = np.log(max((count - n + 0.5) / (n + 0.5), 1e-9))
        scores += rarity * times / (times + k1 * (1 - b + b * lengths / lengths.mean()))
    return scores


# %% wrong: base 10 | base 10
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = np.log10(1 + (count - n + 0.5) / (n + 0.5))
        scores += rarity * times / (times + k1 * (1 - b + b * lengths / lengths.mean()))
    return scores


# %% wrong: base 2 | base 2
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = np.log2(1 + (count - n + 0.5) / (n + 0.5))
        scores += rarity * times / (times + k1 * (1 - b + b * lengths / lengths.mean()))
    return scores


# %% wrong: occurrences | not how often it stands in all of them
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = times.sum()
        rarity = np.log(1 + max(-0.9, (count - n + 0.5) / (n + 0.5)))
        scores += rarity * times / (times + k1 * (1 - b + b * lengths / lengths.mean()))
    return scores


# %% wrong: there or not | whether it is there
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = np.log(1 + (count - n + 0.5) / (n + 0.5))
        times = times > 0
        scores += rarity * times / (times + k1 * (1 - b + b * lengths / lengths.mean()))
    return scores


# %% wrong: no saturation | nothing saturates
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = np.log(1 + (count - n + 0.5) / (n + 0.5))
        scores += rarity * times
    return scores


# %% wrong: no length | long documents have an advantage
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = np.log(1 + (count - n + 0.5) / (n + 0.5))
        scores += rarity * times / (times + k1 * 1)
    return scores


# %% wrong: longest | compared with the longest
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = np.log(1 + (count - n + 0.5) / (n + 0.5))
        scores += rarity * times / (times + k1 * (1 - b + b * lengths / lengths.max()))
    return scores


# %% wrong: k1 + 1 | leave it out
def bm25(query, documents, k1, b):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = np.log(1 + (count - n + 0.5) / (n + 0.5))
        scores += (k1 + 1) * rarity * times / (times + k1 * (1 - b + b * lengths / lengths.mean()))
    return scores


# %% wrong: swapped | k1 and b are swapped
def bm25(query, documents, b, k1):
    count, lengths = len(documents), np.array([len(document) for document in documents])
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents])
        n = (times > 0).sum()
        rarity = np.log(1 + (count - n + 0.5) / (n + 0.5))
        scores += rarity * times / (times + k1 * (1 - b + b * lengths / lengths.mean()))
    return scores
