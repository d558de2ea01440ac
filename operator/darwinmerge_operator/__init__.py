"""The control plane: how Darwin's tasks become Pods, and what a Pod's end means. Never imports torch."""
