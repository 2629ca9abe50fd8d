"""dividere's envelope as Python's protobuf package writes and reads it.

    dividere.py write            prints the cases, one a line: its name, and the envelope in hex
    dividere.py read < lines     checks that such lines are what it would print

The envelope is that of dividere's MsgLib.proto, filled as its ProtoBuffEncoder does, and read
as its ProtoBuffDecoder does. The types are built here, so that no protoc is needed.
"""

import sys

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

F = descriptor_pb2.FieldDescriptorProto


def message(file, name, *fields):
    of = file.message_type.add(name=name)
    for number, (field, kind, *more) in enumerate(fields, 1):
        repeated = "repeated" in more
        label = F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL
        names = [text for text in more if text.startswith(".")]
        of.field.add(name=field, number=number, type=kind, label=label, type_name=names[0] if names else None)


def types():
    file = descriptor_pb2.FileDescriptorProto(name="cases.proto", syntax="proto3")
    file.dependency.append("google/protobuf/any.proto")
    message(file, "msgEnvelope", ("msgName", F.TYPE_STRING), ("msg", F.TYPE_MESSAGE, ".google.protobuf.Any"))
    message(file, "Msg01", ("field1", F.TYPE_INT32), ("field2", F.TYPE_STRING))
    message(
        file,
        "Reading",
        ("id", F.TYPE_UINT64),
        ("offset", F.TYPE_SINT64),
        ("value", F.TYPE_DOUBLE),
        ("valid", F.TYPE_BOOL),
        ("raw", F.TYPE_BYTES),
        ("counts", F.TYPE_INT32, "repeated"),
        ("tags", F.TYPE_STRING, "repeated"),
        ("source", F.TYPE_MESSAGE, ".Msg01"),
        ("stamp", F.TYPE_FIXED32),
    )
    pool = descriptor_pool.Default()
    assert any_pb2.DESCRIPTOR.name == "google/protobuf/any.proto"
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    return {name: type_of(name) for name in ("msgEnvelope", "Msg01", "Reading")}


def type_of(name):
    found = descriptor_pool.Default().FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(found)
    return message_factory.MessageFactory().GetPrototype(found)


def cases(of):
    source = of["Msg01"](field1=-1, field2="Grüße")
    return {
        "small": of["Msg01"](field1=7, field2="hello"),
        "empty": of["Msg01"](),
        "negative": source,
        "all": of["Reading"](
            id=2**63,
            offset=-300,
            value=1.5,
            valid=True,
            raw=bytes(range(256)),
            counts=[0, 1, -1, 70000],
            tags=["", "a", "bc"],
            source=source,
            stamp=4,
        ),
        "empty-inside": of["Reading"](source=of["Msg01"](), tags=[""]),
    }


def encode(of, value):
    envelope = of["msgEnvelope"]()
    envelope.msgName = value.__class__.__name__
    envelope.msg.Pack(value)
    return envelope.SerializeToString()


def decode(of, payload):
    envelope = of["msgEnvelope"]()
    envelope.ParseFromString(payload)
    value = type_of(envelope.msgName)()
    if not envelope.msg.Unpack(value):
        raise ValueError(f"{envelope.msg.type_url} is no {envelope.msgName}")
    return value


def main():
    of = types()
    expected = cases(of)
    if sys.argv[1:] == ["write"]:
        for name, value in expected.items():
            print(name, encode(of, value).hex())
        return
    read = dict(line.split() for line in sys.stdin)
    assert read.keys() == expected.keys(), f"{read.keys()} are not {expected.keys()}"
    for name, value in expected.items():
        payload = bytes.fromhex(read[name])
        assert decode(of, payload) == value, f"{name} is read as another value"
        assert payload == encode(of, value), f"{name} is written otherwise: {read[name]}"


main()
