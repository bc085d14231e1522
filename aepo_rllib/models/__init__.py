"""Hugging Face models and tokenizers: loading, framing prompts, scoring completions, exporting. No Ray."""
