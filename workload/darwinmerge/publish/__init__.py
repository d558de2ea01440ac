"""The child as others will use it: a Hugging Face folder with its record and its model card."""
