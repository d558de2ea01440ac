"""Model folders, read and written tensor by tensor, never through a model class.

transformers casts F32 tensors among BF16 ones, and drops tensors that its class doesn't know; a merge must not.
"""
