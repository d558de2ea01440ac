"""Phase 0, Model MRI: what every tensor of both parents looks like, and what that prescribes."""
