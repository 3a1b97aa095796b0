# %% right: loop
def unfair(arms):
    found = {"trained on the test": [], "shown its answer": [], "other questions": [], "other mark": []}

    def bare(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    first = arms[0]
    for arm in arms:
        asked = [bare(question) for question in arm["asked"]]
        trained = {bare(row) for row in arm["trained"]}
        if any(question in trained for question in asked):
            found["trained on the test"].append(arm["name"])
        if any(q in map(bare, shown) for q, shown in zip(asked, arm["examples"])):
            found["shown its answer"].append(arm["name"])
        if sorted(asked) != sorted(map(bare, first["asked"])):
            found["other questions"].append(arm["name"])
        if arm["mark"] != first["mark"]:
            found["other mark"].append(arm["name"])
    return found


# %% right: sets
def unfair(arms):
    def words(text):
        return tuple(re.findall(r"\w+", text.casefold()))

    def names(test):
        return [arm["name"] for arm in arms if test(arm)]

    def questions(arm):
        return [words(q) for q in arm["asked"]]

    return {
        "other mark": names(lambda arm: arm["mark"] != arms[0]["mark"]),
        "other questions": names(lambda arm: sorted(questions(arm)) != sorted(questions(arms[0]))),
        "shown its answer": names(lambda arm: any(q in [words(e) for e in es] for q, es in zip(questions(arm), arm["examples"]))),
        "trained on the test": names(lambda arm: not set(questions(arm)).isdisjoint(map(words, arm["trained"]))),
    }


# %% right: split and strip
import string


def unfair(experiment):
    table = str.maketrans({mark: " " for mark in string.punctuation})

    def key(text):
        return " ".join(text.translate(table).lower().split())

    result = {name: [] for name in ("trained on the test", "shown its answer", "other questions", "other mark")}
    wanted = {key(q) for q in experiment[0]["asked"]}
    for arm in experiment:
        questions = [key(q) for q in arm["asked"]]
        hits = [q in {key(e) for e in arm["examples"][i]} for i, q in enumerate(questions)]
        tests = [bool({key(r) for r in arm["trained"]} & set(questions)), any(hits), set(questions) != wanted, arm["mark"] != experiment[0]["mark"]]
        for name, bad in zip(result, tests):
            if bad:
                result[name] = [*result[name], arm["name"]]
    return result


# %% wrong: papers | papers that hold the answer are what retrieval is for
def unfair(arms):
    found = {"trained on the test": [], "shown its answer": [], "other questions": [], "other mark": []}

    def bare(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    first = arms[0]
    for arm in arms:
        asked = [bare(question) for question in arm["asked"]]
        trained = {bare(row) for row in arm["trained"]}
        if any(question in trained for question in asked):
            found["trained on the test"].append(arm["name"])
        if any(q in map(bare, shown) for q, shown in zip(asked, arm["examples"])) or any(arm["papers"]):
            found["shown its answer"].append(arm["name"])
        if sorted(asked) != sorted(map(bare, first["asked"])):
            found["other questions"].append(arm["name"])
        if arm["mark"] != first["mark"]:
            found["other mark"].append(arm["name"])
    return found


# %% wrong: letters | copies in other clothes count
def unfair(arms):
    found = {"trained on the test": [], "shown its answer": [], "other questions": [], "other mark": []}

    def bare(text):
        return text

    first = arms[0]
    for arm in arms:
        asked = [bare(question) for question in arm["asked"]]
        trained = {bare(row) for row in arm["trained"]}
        if any(question in trained for question in asked):
            found["trained on the test"].append(arm["name"])
        if any(q in map(bare, shown) for q, shown in zip(asked, arm["examples"])):
            found["shown its answer"].append(arm["name"])
        if sorted(asked) != sorted(map(bare, first["asked"])):
            found["other questions"].append(arm["name"])
        if arm["mark"] != first["mark"]:
            found["other mark"].append(arm["name"])
    return found


# %% wrong: anywhere | compare question by question
def unfair(arms):
    found = {"trained on the test": [], "shown its answer": [], "other questions": [], "other mark": []}

    def bare(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    first = arms[0]
    for arm in arms:
        asked = [bare(question) for question in arm["asked"]]
        trained = {bare(row) for row in arm["trained"]}
        if any(question in trained for question in asked):
            found["trained on the test"].append(arm["name"])
        if any(q in map(bare, shown) for q in asked for shown in arm["examples"]):
            found["shown its answer"].append(arm["name"])
        if sorted(asked) != sorted(map(bare, first["asked"])):
            found["other questions"].append(arm["name"])
        if arm["mark"] != first["mark"]:
            found["other mark"].append(arm["name"])
    return found


# %% wrong: order | in another order are the same test
def unfair(arms):
    found = {"trained on the test": [], "shown its answer": [], "other questions": [], "other mark": []}

    def bare(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    first = arms[0]
    for arm in arms:
        asked = [bare(question) for question in arm["asked"]]
        trained = {bare(row) for row in arm["trained"]}
        if any(question in trained for question in asked):
            found["trained on the test"].append(arm["name"])
        if any(q in map(bare, shown) for q, shown in zip(asked, arm["examples"])):
            found["shown its answer"].append(arm["name"])
        if asked != [bare(q) for q in first["asked"]]:
            found["other questions"].append(arm["name"])
        if arm["mark"] != first["mark"]:
            found["other mark"].append(arm["name"])
    return found


# %% wrong: never looks at training | is missing in 'trained on the test'
def unfair(arms):
    found = {"trained on the test": [], "shown its answer": [], "other questions": [], "other mark": []}

    def bare(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    first = arms[0]
    for arm in arms:
        asked = [bare(question) for question in arm["asked"]]
        trained = {bare(row) for row in arm["trained"]}
        if False:
            found["trained on the test"].append(arm["name"])
        if any(q in map(bare, shown) for q, shown in zip(asked, arm["examples"])):
            found["shown its answer"].append(arm["name"])
        if sorted(asked) != sorted(map(bare, first["asked"])):
            found["other questions"].append(arm["name"])
        if arm["mark"] != first["mark"]:
            found["other mark"].append(arm["name"])
    return found


# %% wrong: never looks at examples | is missing in 'shown its answer'
def unfair(arms):
    found = {"trained on the test": [], "shown its answer": [], "other questions": [], "other mark": []}

    def bare(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    first = arms[0]
    for arm in arms:
        asked = [bare(question) for question in arm["asked"]]
        trained = {bare(row) for row in arm["trained"]}
        if any(question in trained for question in asked):
            found["trained on the test"].append(arm["name"])
        if False:
            found["shown its answer"].append(arm["name"])
        if sorted(asked) != sorted(map(bare, first["asked"])):
            found["other questions"].append(arm["name"])
        if arm["mark"] != first["mark"]:
            found["other mark"].append(arm["name"])
    return found


# %% wrong: trusts the marks | is missing in 'other mark'
def unfair(arms):
    found = {"trained on the test": [], "shown its answer": [], "other questions": [], "other mark": []}

    def bare(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    first = arms[0]
    for arm in arms:
        asked = [bare(question) for question in arm["asked"]]
        trained = {bare(row) for row in arm["trained"]}
        if any(question in trained for question in asked):
            found["trained on the test"].append(arm["name"])
        if any(q in map(bare, shown) for q, shown in zip(asked, arm["examples"])):
            found["shown its answer"].append(arm["name"])
        if sorted(asked) != sorted(map(bare, first["asked"])):
            found["other questions"].append(arm["name"])
        if False:
            found["other mark"].append(arm["name"])
    return found


# %% wrong: only counts questions | is missing in 'other questions'
def unfair(arms):
    found = {"trained on the test": [], "shown its answer": [], "other questions": [], "other mark": []}

    def bare(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    first = arms[0]
    for arm in arms:
        asked = [bare(question) for question in arm["asked"]]
        trained = {bare(row) for row in arm["trained"]}
        if any(question in trained for question in asked):
            found["trained on the test"].append(arm["name"])
        if any(q in map(bare, shown) for q, shown in zip(asked, arm["examples"])):
            found["shown its answer"].append(arm["name"])
        if len(asked) != len(first["asked"]):
            found["other questions"].append(arm["name"])
        if arm["mark"] != first["mark"]:
            found["other mark"].append(arm["name"])
    return found
