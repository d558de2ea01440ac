"""`kubectl darwin`: DarwinMerges of a cluster, for those who wait for them, with rights of their own."""
