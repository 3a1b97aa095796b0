# %% right: from the factors
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = pattern("alpha_pattern", layer, config["lora_alpha"]) / pattern("rank_pattern", layer, config["r"])
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = weight + times * update
    return merged


# %% right: einsum, the rank read off A
import numpy as np


def merge(weights, adapter, config, times=1):
    result = dict(weights)
    letters = "or,ri->io" if config["fan_in_fan_out"] else "or,ri->oi"
    for name in result:
        if name + ".lora_B" in adapter:
            b, a = adapter[name + ".lora_B"], adapter[name + ".lora_A"]
            alphas = [v for k, v in config["alpha_pattern"].items() if ("." + name).endswith("." + k)]
            alpha = alphas[0] if alphas else config["lora_alpha"]
            result[name] = result[name] + np.einsum(letters, b, a) * (times * alpha / len(a))
    return result


# %% right: loop over rank-one terms
import re


def merge(weights, adapter, config, times=1):
    out = {}
    for layer, w in weights.items():
        out[layer] = w.copy()
        if f"{layer}.lora_A" in adapter:
            a, b = adapter[f"{layer}.lora_A"], adapter[f"{layer}.lora_B"]
            alpha = config["lora_alpha"]
            for key, own in config["alpha_pattern"].items():
                if re.fullmatch(rf"(.*[.])?{re.escape(key)}", layer):
                    alpha = own
            for column, row in zip(b.T, a):
                term = column[:, None] * row[None, :] * alpha / a.shape[0]
                out[layer] += times * (term.T if config["fan_in_fan_out"] else term)
    return out


# %% right: torch, in float32
import torch


def merge(weights, adapter, config, times=1):
    out = {}
    for layer, weight in weights.items():
        out[layer] = torch.as_tensor(weight, dtype=torch.float32)
        if layer + ".lora_A" in adapter:
            a, b = (torch.as_tensor(adapter[f"{layer}.lora_{x}"], dtype=torch.float32) for x in "AB")
            short = layer.split(".")[-1]
            alpha = config["alpha_pattern"].get(layer, config["alpha_pattern"].get(short, config["lora_alpha"]))
            delta = alpha / a.shape[0] * torch.matmul(b, a)
            out[layer] = out[layer] + times * (delta.t() if config["fan_in_fan_out"] else delta)
    return out


# %% wrong: forgets alpha/r | lacks its scale
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = 1
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = weight + times * update
    return merged


# %% wrong: alpha and r swapped | swapped
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = pattern("rank_pattern", layer, config["r"]) / pattern("alpha_pattern", layer, config["lora_alpha"])
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = weight + times * update
    return merged


# %% wrong: alpha alone | alpha alone
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = pattern("alpha_pattern", layer, config["lora_alpha"])
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = weight + times * update
    return merged


# %% wrong: ignores the rank pattern | rank_pattern
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = pattern("alpha_pattern", layer, config["lora_alpha"]) / config["r"]
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = weight + times * update
    return merged


# %% wrong: ignores the alpha pattern | alpha_pattern
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = config["lora_alpha"] / pattern("rank_pattern", layer, config["r"])
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = weight + times * update
    return merged


# %% wrong: pattern keys as whole names only | rank_pattern
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key:
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = pattern("alpha_pattern", layer, config["lora_alpha"]) / pattern("rank_pattern", layer, config["r"])
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = weight + times * update
    return merged


# %% wrong: transposes the weight | transpose the update
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = pattern("alpha_pattern", layer, config["lora_alpha"]) / pattern("rank_pattern", layer, config["r"])
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            weight = weight.T
        merged[layer] = weight + times * update
    return merged


# %% wrong: drops layers without adapter | lacks the key
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = pattern("alpha_pattern", layer, config["lora_alpha"]) / pattern("rank_pattern", layer, config["r"])
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = weight + times * update
    return merged


# %% wrong: puts it in again | times = -1
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = pattern("alpha_pattern", layer, config["lora_alpha"]) / pattern("rank_pattern", layer, config["r"])
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = weight + abs(times) * update
    return merged


# %% wrong: returns the update alone | update alone
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = pattern("alpha_pattern", layer, config["lora_alpha"]) / pattern("rank_pattern", layer, config["r"])
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = times * update
    return merged


# %% wrong: rsLoRA's scale | rsLoRA
def merge(weights, adapter, config, times=1):
    def pattern(name, layer, usual):
        for key, value in config[name].items():
            if layer == key or layer.endswith("." + key):
                return value
        return usual

    merged = {}
    for layer, weight in weights.items():
        if layer + ".lora_A" not in adapter:
            merged[layer] = weight
            continue
        a, b = adapter[layer + ".lora_A"], adapter[layer + ".lora_B"]
        scale = pattern("alpha_pattern", layer, config["lora_alpha"]) / pattern("rank_pattern", layer, config["r"]) ** 0.5
        update = scale * (b @ a)
        if config["fan_in_fan_out"]:
            update = update.T
        merged[layer] = weight + times * update
    return merged
