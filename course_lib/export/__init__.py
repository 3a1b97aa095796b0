"""Models in other programs' formats: ONNX for onnxruntime, GGUF for llama.cpp; each read back and compared with torch."""
