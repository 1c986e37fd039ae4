"""One function per call: reads the request, asks a story, writes the answer."""
