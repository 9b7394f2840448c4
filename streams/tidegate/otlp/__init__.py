"""From OTLP metrics to node-seconds: which metrics are requests, which process said them, what they add to which second.

Pure: messages and append times in, rows out. Sockets, Kafka, gzip and protobuf's library may not enter; they are in
``tidegate.bridge``.
"""
