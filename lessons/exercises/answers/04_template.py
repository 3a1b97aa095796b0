# %% right: loop
def write_chat(turns):
    text = "<|start|>"
    for turn in turns:
        text += f"<|{turn['role']}|> {turn['content']}<|end|>"
    if turns[-1]["role"] == "user":
        text += "<|assistant|>"
    return text


# %% right: join
def write_chat(conversation):
    parts = ["<|%s|> %s<|end|>" % (part["role"], part["content"]) for part in conversation]
    asks = conversation[-1]["role"] != "assistant"
    return "<|start|>" + "".join(parts) + "<|assistant|>" * asks


# %% right: recursive
def write_chat(turns, begun=False):
    if not turns:
        return ""
    first, rest = turns[0], turns[1:]
    here = ("" if begun else "<|start|>") + "<|" + first["role"] + "|> " + first["content"] + "<|end|>"
    if not rest and first["role"] == "user":
        here += "<|assistant|>"
    return here + write_chat(rest, True)


# %% wrong: no last end | would never learn to stop
def write_chat(turns):
    text = "<|start|>"
    for turn in turns:
        text += f"<|{turn['role']}|> {turn['content']}<|end|>"
    if turns[-1]["role"] == "user":
        text += "<|assistant|>"
    return text.removesuffix('<|end|>')


# %% wrong: no ends | the end tokens are missing
def write_chat(turns):
    text = "<|start|>"
    for turn in turns:
        text += f"<|{turn['role']}|> {turn['content']}"
    if turns[-1]["role"] == "user":
        text += "<|assistant|>"
    return text


# %% wrong: typed end | an end typed as text
def write_chat(turns):
    text = "<|start|>"
    for turn in turns:
        text += f"<|{turn['role']}|> {turn['content']}</s>"
    if turns[-1]["role"] == "user":
        text += "<|assistant|>"
    return text


# %% wrong: start before every turn | the start token stands once
def write_chat(turns):
    text = ""
    for turn in turns:
        text += f"<|start|><|{turn['role']}|> {turn['content']}<|end|>"
    if turns[-1]["role"] == "user":
        text += "<|assistant|>"
    return text


# %% wrong: no start | the start token is missing
def write_chat(turns):
    text = ""
    for turn in turns:
        text += f"<|{turn['role']}|> {turn['content']}<|end|>"
    if turns[-1]["role"] == "user":
        text += "<|assistant|>"
    return text


# %% wrong: no space | one space stands between
def write_chat(turns):
    text = "<|start|>"
    for turn in turns:
        text += f"<|{turn['role']}|>{turn['content']}<|end|>"
    if turns[-1]["role"] == "user":
        text += "<|assistant|>"
    return text


# %% wrong: line breaks | no line break
def write_chat(turns):
    text = "<|start|>"
    for turn in turns:
        text += f"<|{turn['role']}|> {turn['content']}<|end|>\n"
    if turns[-1]["role"] == "user":
        text += "<|assistant|>"
    return text


# %% wrong: not open | open for the answer
def write_chat(turns):
    text = "<|start|>"
    for turn in turns:
        text += f"<|{turn['role']}|> {turn['content']}<|end|>"
    if turns[-1]["role"] == "user":
        pass
    return text


# %% wrong: always open | nothing is left open after it
def write_chat(turns):
    text = "<|start|>"
    for turn in turns:
        text += f"<|{turn['role']}|> {turn['content']}<|end|>"
    text += "<|assistant|>"
    return text


# %% wrong: open with a space | nothing behind it
def write_chat(turns):
    text = "<|start|>"
    for turn in turns:
        text += f"<|{turn['role']}|> {turn['content']}<|end|>"
    if turns[-1]["role"] == "user":
        text += "<|assistant|> "
    return text
