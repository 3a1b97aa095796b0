"""The made-up world: facts, catalogues, contracts, the corpus mix, and the questions that probe a model's skills."""
