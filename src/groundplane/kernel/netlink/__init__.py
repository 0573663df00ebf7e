"""Netlink without a library: channels, rtnetlink requests as values, conntrack deletion.

A request is a value (`Request`: message, name of the call, object); a `Channel` performs several of them in one
`sendmsg`. Channels belong to the network namespace in which they were opened, for ever: `netns.inside` opens one in
another namespace. Owns no state; nothing here knows pods, Services or Docker.

    attributes · the type-length-value grammar          links · addresses · routes · neighbours · rules   rtnetlink
    channel    · one socket: perform, dump, errors      conntrack                                         ctnetlink
    netns      · doing things inside another namespace
"""
