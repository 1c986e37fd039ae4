"""Values that every room may know: errors, time, codes, ports. Imports no other room of ours."""
