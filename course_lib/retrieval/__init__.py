"""Look it up instead of remembering it: BM25 over documents, prompts with numbered documents, citations that are checked."""
