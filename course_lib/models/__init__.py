"""Which model, and how to load it: tiers, wren and its tokenizer, 16-bit and 4-bit loading."""
