# %% right: sides
def trainable(config, rank, targets):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    sides = {
        "q_proj": queries + hidden,
        "k_proj": keys + hidden,
        "v_proj": keys + hidden,
        "o_proj": hidden + queries,
        "gate_proj": inner + hidden,
        "up_proj": inner + hidden,
        "down_proj": hidden + inner,
    }
    return config["num_hidden_layers"] * rank * sum(sides[name] for name in targets)


# %% right: loop
def trainable(c, r, names):
    total = 0
    for name in names:
        if name in ("q_proj", "o_proj"):
            d_out, d_in = c["num_attention_heads"] * c["head_dim"], c["hidden_size"]
        elif name in ("k_proj", "v_proj"):
            d_out, d_in = c["num_key_value_heads"] * c["head_dim"], c["hidden_size"]
        else:
            d_out, d_in = c["intermediate_size"], c["hidden_size"]
        total += r * d_in + d_out * r
    return total * c["num_hidden_layers"]


# %% right: arrays
def trainable(config, rank, targets):
    h, i, d = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, k = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    shapes = dict(q_proj=(q, h), k_proj=(k, h), v_proj=(k, h), o_proj=(h, q), gate_proj=(i, h), up_proj=(i, h), down_proj=(h, i))
    return np.array([shapes[t] for t in targets]).sum() * rank * config["num_hidden_layers"]


# %% wrong: one layer | that is one layer
def trainable(config, rank, targets):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    sides = {
        "q_proj": queries + hidden,
        "k_proj": keys + hidden,
        "v_proj": keys + hidden,
        "o_proj": hidden + queries,
        "gate_proj": inner + hidden,
        "up_proj": inner + hidden,
        "down_proj": hidden + inner,
    }
    return rank * sum(sides[name] for name in targets)


# %% wrong: all heads alike | k and v have fewer heads than q
def trainable(config, rank, targets):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_attention_heads"] * config["head_dim"]
    sides = {
        "q_proj": queries + hidden,
        "k_proj": keys + hidden,
        "v_proj": keys + hidden,
        "o_proj": hidden + queries,
        "gate_proj": inner + hidden,
        "up_proj": inner + hidden,
        "down_proj": hidden + inner,
    }
    return config["num_hidden_layers"] * rank * sum(sides[name] for name in targets)


# %% wrong: heads as wide as hidden | needn't be as wide as hidden_size
def trainable(config, rank, targets):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = hidden
    keys = config["num_key_value_heads"] * config["head_dim"]
    sides = {
        "q_proj": queries + hidden,
        "k_proj": keys + hidden,
        "v_proj": keys + hidden,
        "o_proj": hidden + queries,
        "gate_proj": inner + hidden,
        "up_proj": inner + hidden,
        "down_proj": hidden + inner,
    }
    return config["num_hidden_layers"] * rank * sum(sides[name] for name in targets)


# %% wrong: product of the sides | that counts whole matrices
def trainable(config, rank, targets):
    h, i, d = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, k = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    sizes = dict(q_proj=q * h, k_proj=k * h, v_proj=k * h, o_proj=h * q, gate_proj=i * h, up_proj=i * h, down_proj=h * i)
    return config["num_hidden_layers"] * sum(sizes[t] for t in targets)


# %% wrong: rank times the product | A and B are added
def trainable(config, rank, targets):
    h, i, d = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, k = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    sizes = dict(q_proj=q * h, k_proj=k * h, v_proj=k * h, o_proj=h * q, gate_proj=i * h, up_proj=i * h, down_proj=h * i)
    return rank * config["num_hidden_layers"] * sum(sizes[t] for t in targets)


# %% wrong: A alone | that counts A alone
def trainable(config, rank, targets):
    h, i = config["hidden_size"], config["intermediate_size"]
    q = config["num_attention_heads"] * config["head_dim"]
    into = {"o_proj": q, "down_proj": i}
    return rank * config["num_hidden_layers"] * sum(into.get(t, h) for t in targets)


# %% wrong: no rank | the rank is missing
def trainable(config, rank, targets):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    sides = {
        "q_proj": queries + hidden,
        "k_proj": keys + hidden,
        "v_proj": keys + hidden,
        "o_proj": hidden + queries,
        "gate_proj": inner + hidden,
        "up_proj": inner + hidden,
        "down_proj": hidden + inner,
    }
    return config["num_hidden_layers"] * sum(sides[name] for name in targets)


# %% wrong: every matrix | only the targets get an adapter
def trainable(config, rank, targets):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    sides = {
        "q_proj": queries + hidden,
        "k_proj": keys + hidden,
        "v_proj": keys + hidden,
        "o_proj": hidden + queries,
        "gate_proj": inner + hidden,
        "up_proj": inner + hidden,
        "down_proj": hidden + inner,
    }
    return config["num_hidden_layers"] * rank * sum(sides.values())


# %% wrong: twice | once too often
def trainable(config, rank, targets):
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    sides = {
        "q_proj": queries + hidden,
        "k_proj": keys + hidden,
        "v_proj": keys + hidden,
        "o_proj": hidden + queries,
        "gate_proj": inner + hidden,
        "up_proj": inner + hidden,
        "down_proj": hidden + inner,
    }
    return config["num_hidden_layers"] * 2 * rank * sum(sides[name] for name in targets)
