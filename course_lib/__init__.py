"""Fine-Tuning & LoRA, measured: the library behind the lessons and the command ``course``."""

import logging

__version__ = "0.1.0"

# bitsandbytes says as it is imported, by PEFT for instance, that one 4-bit CPU kernel is absent. It does without.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
