# The story on a real cluster.
demo:
    cargo demo

# Remove every trace of it.
demo-down:
    cargo demo down

# Every check.
ci:
    cargo ci
