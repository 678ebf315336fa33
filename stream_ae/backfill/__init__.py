"""A span of the raw topic again, through a chosen version: the workers' own flow, read between two offsets."""
