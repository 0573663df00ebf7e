"""Which node a pod runs on: extension-point contract, queue, cycle, plugins.

Sees the cluster only through client.

    contract   what plugins say, in prose                 cycle      the decision (pure)
    nodeinfo   pods and nodes as numbers                  queue      pods that wait, and when they are tried again
    cache      nodes with their pods, assumed ones too    messages   upstream's sentences
    plugins/   one file each, and their registry          loop       informers in, bindings out
"""
