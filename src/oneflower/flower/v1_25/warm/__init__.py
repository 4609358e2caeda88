"""Run a SuperNode's ClientApps in forked children of a process that has imported the app already.

Three kinds of process, so that gRPC and fork never meet in one: the executor talks to the SuperNode and
never forks; a zygote has imported one app, has one thread, and forks a child for each message; the child runs
the app on that message, in a state as fresh as that of a new process, and its memory goes back when it ends.
"""
