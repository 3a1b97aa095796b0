"""What the course's figures come from: each module is one command, and writes its results as JSON with versions."""
