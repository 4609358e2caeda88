"""The stages of a virtual machine: configure, bootstrap, and the report that follows a training."""
