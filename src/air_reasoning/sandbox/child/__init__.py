"""The untrusted side of the sandbox: run by path in a process of its own, stdlib only."""
