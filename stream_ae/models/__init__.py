"""Networks, scores and version folders; torch only, has never heard of a stream."""
