"""The shapes of requests and answers that clients speak, one file each; what is answered is the same."""
