"""LoRA itself: the arithmetic built for reading, what model and adapter folders hold, and the merge that proves itself."""
