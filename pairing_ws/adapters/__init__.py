"""One outside thing per file. An adapter keeps its port's promises; its driver's errors never leave it."""
