# %% right: by method
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 0, "gradients": 2 * trains, "optimiser": 8 * trains}
    weights = 2 * (linear + other) if method == "lora" else linear * 4.127 / 8 + 2 * other
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 4 * adapter, "optimiser": 8 * adapter}


# %% right: one formula
def bill(m, n_linear, n_other, n_adapter):
    width = {"full": 2, "lora": 2, "qlora": 4.127 / 8}[m]
    trained, size = (n_linear + n_other, 2) if m == "full" else (n_adapter, 4)
    return dict(
        optimiser=2 * 4 * trained,
        gradients=size * trained,
        adapter=0 if m == "full" else size * n_adapter,
        weights=width * n_linear + 2 * n_other,
    )


# %% right: numpy
def bill(method, linear, other, adapter):
    counts = np.array([linear, other, adapter], dtype=np.float64)
    bits = np.array([4.127 if method == "qlora" else 16, 16, 0 if method == "full" else 32])
    train = np.array([1, 1, 0]) if method == "full" else np.array([0, 0, 1])
    held = counts * bits / 8
    return {"weights": held[:2].sum(), "adapter": held[2], "gradients": (held * train).sum(), "optimiser": (counts * train).sum() * 8}


# %% wrong: gradients of frozen weights | frozen weights need no gradients
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 0, "gradients": 2 * trains, "optimiser": 8 * trains}
    weights = 2 * (linear + other) if method == "lora" else linear * 4.127 / 8 + 2 * other
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 2 * (linear + other), "optimiser": 8 * adapter}


# %% wrong: states of frozen weights | frozen weights need no optimiser states
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 0, "gradients": 2 * trains, "optimiser": 8 * trains}
    weights = 2 * (linear + other) if method == "lora" else linear * 4.127 / 8 + 2 * other
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 4 * adapter, "optimiser": 8 * (linear + other)}


# %% wrong: everything in four bits | only the linear layers are quantised
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 0, "gradients": 2 * trains, "optimiser": 8 * trains}
    weights = 2 * (linear + other) if method == "lora" else (linear + other) * 4.127 / 8
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 4 * adapter, "optimiser": 8 * adapter}


# %% wrong: exactly four bits | four bits are not all
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 0, "gradients": 2 * trains, "optimiser": 8 * trains}
    weights = 2 * (linear + other) if method == "lora" else linear / 2 + 2 * other
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 4 * adapter, "optimiser": 8 * adapter}


# %% wrong: bits for bytes | a byte has 8 bits
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 0, "gradients": 2 * trains, "optimiser": 8 * trains}
    weights = 2 * (linear + other) if method == "lora" else linear * 4.127 + 2 * other
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 4 * adapter, "optimiser": 8 * adapter}


# %% wrong: one state | keeps two running means
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 0, "gradients": 2 * trains, "optimiser": 4 * trains}
    weights = 2 * (linear + other) if method == "lora" else linear * 4.127 / 8 + 2 * other
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 4 * adapter, "optimiser": 4 * adapter}


# %% wrong: adapter in 16 bits | the adapter is kept in 32 bits
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 0, "gradients": 2 * trains, "optimiser": 8 * trains}
    weights = 2 * (linear + other) if method == "lora" else linear * 4.127 / 8 + 2 * other
    return {"weights": weights, "adapter": 2 * adapter, "gradients": 4 * adapter, "optimiser": 8 * adapter}


# %% wrong: adapter in full training | full fine-tuning has no adapter
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 4 * adapter, "gradients": 2 * trains, "optimiser": 8 * trains}
    weights = 2 * (linear + other) if method == "lora" else linear * 4.127 / 8 + 2 * other
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 4 * adapter, "optimiser": 8 * adapter}


# %% wrong: weights in 32 bits | yours takes 4
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 4 * trains, "adapter": 0, "gradients": 2 * trains, "optimiser": 8 * trains}
    weights = 2 * (linear + other) if method == "lora" else linear * 4.127 / 8 + 2 * other
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 4 * adapter, "optimiser": 8 * adapter}


# %% wrong: no base | whether they train or not
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 0, "gradients": 2 * trains, "optimiser": 8 * trains}
    weights = 0 if method == "lora" else linear * 4.127 / 8 + 2 * other
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 4 * adapter, "optimiser": 8 * adapter}


# %% wrong: gradients in 32 bits | 2 bytes for weights in 16 bits
def bill(method, linear, other, adapter):
    if method == "full":
        trains = linear + other
        return {"weights": 2 * trains, "adapter": 0, "gradients": 4 * trains, "optimiser": 8 * trains}
    weights = 2 * (linear + other) if method == "lora" else linear * 4.127 / 8 + 2 * other
    return {"weights": weights, "adapter": 4 * adapter, "gradients": 4 * adapter, "optimiser": 8 * adapter}
