"""What the wheel brings: constants, stubs, licences, and no libspread."""

import ast
import importlib.metadata
import inspect
import os
import unittest

import spread
import spread.asyncio

#: sp.h of Spread 5.0.1, and the two sizes of the C module.
CONSTANTS = {
    "LOW_PRIORITY": 0,
    "MEDIUM_PRIORITY": 1,
    "HIGH_PRIORITY": 2,
    "DEFAULT_SPREAD_PORT": 4803,
    "SPREAD_VERSION": 0x0500_0000,
    "MAX_GROUP_NAME": 32,
    "MAX_PRIVATE_NAME": 10,
    "MAX_PROC_NAME": 20,
    "UNRELIABLE_MESS": 0x01,
    "RELIABLE_MESS": 0x02,
    "FIFO_MESS": 0x04,
    "CAUSAL_MESS": 0x08,
    "AGREED_MESS": 0x10,
    "SAFE_MESS": 0x20,
    "REGULAR_MESS": 0x3F,
    "SELF_DISCARD": 0x40,
    "DROP_RECV": 0x0100_0000,
    "REG_MEMB_MESS": 0x1000,
    "TRANSITION_MESS": 0x2000,
    "CAUSED_BY_JOIN": 0x100,
    "CAUSED_BY_LEAVE": 0x200,
    "CAUSED_BY_DISCONNECT": 0x400,
    "CAUSED_BY_NETWORK": 0x800,
    "MEMBERSHIP_MESS": 0x3F00,
    "ENDIAN_RESERVED": 0x8000_0080,
    "RESERVED": 0x003F_C000,
    "REJECT_MESS": 0x0040_0000,
    "ACCEPT_SESSION": 1,
    "ILLEGAL_SPREAD": -1,
    "COULD_NOT_CONNECT": -2,
    "REJECT_QUOTA": -3,
    "REJECT_NO_NAME": -4,
    "REJECT_ILLEGAL_NAME": -5,
    "REJECT_NOT_UNIQUE": -6,
    "REJECT_VERSION": -7,
    "CONNECTION_CLOSED": -8,
    "REJECT_AUTH": -9,
    "ILLEGAL_SESSION": -11,
    "ILLEGAL_SERVICE": -12,
    "ILLEGAL_MESSAGE": -13,
    "ILLEGAL_GROUP": -14,
    "BUFFER_TOO_SHORT": -15,
    "GROUPS_TOO_SHORT": -16,
    "MESSAGE_TOO_LONG": -17,
    "NET_ERROR_ON_SESSION": -18,
    "DEFAULT_BUFFER_SIZE": 10_000,
    "DEFAULT_GROUPS_SIZE": 10,
}


def public(names):
    return {name for name in names if not name.startswith("_")}


class Package(unittest.TestCase):
    def test_the_constants_are_those_of_spread(self):
        numbers = {name: value for name, value in vars(spread).items() if type(value) is int}
        self.assertEqual(numbers, CONSTANTS)

    def test_the_stubs_name_everything_there_is(self):
        with open(os.path.join(os.path.dirname(spread.__file__), "__init__.pyi")) as file:
            stub = ast.parse(file.read())
        classes, names, exported = {}, set(), []
        for node in stub.body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = node
                names.add(node.name)
            elif isinstance(node, ast.FunctionDef):
                names.add(node.name)
                stubbed = [argument.arg for argument in node.args.args + node.args.kwonlyargs]
                real = inspect.signature(getattr(spread, node.name))
                self.assertEqual(list(real.parameters), stubbed, node.name)
            elif isinstance(node, ast.AnnAssign):
                names.add(node.target.id)
            elif isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
                exported = ast.literal_eval(node.value)
            elif isinstance(node, ast.Assign):
                names.add(node.targets[0].id)
        self.assertEqual(public(names), set(spread.__all__))
        self.assertEqual(sorted(exported), sorted(spread.__all__))
        for name, node in classes.items():
            if name == "SpreadError":
                continue
            members = {member.name for member in node.body}
            self.assertEqual(public(members), public(vars(getattr(spread, name))), name)
            for member in node.body:
                real = getattr(getattr(spread, name), member.name)
                if member.name.startswith("_") or not callable(real):
                    continue
                stubbed = [argument.arg for argument in member.args.args]
                self.assertEqual(list(inspect.signature(real).parameters), stubbed, member.name)

    def test_everything_is_documented(self):
        for name in spread.__all__:
            value = getattr(spread, name)
            if isinstance(value, int):
                continue
            self.assertTrue(value.__doc__, name)
            for member, real in vars(value).items() if isinstance(value, type) else ():
                if not member.startswith("_"):
                    self.assertTrue(real.__doc__, f"{name}.{member}")

    def test_the_package_is_typed_and_has_its_licences(self):
        folder = os.path.dirname(spread.__file__)
        self.assertTrue(os.path.exists(os.path.join(folder, "py.typed")))
        files = {file.name for file in importlib.metadata.files("spread-toolkit")}
        self.assertLessEqual({"LICENSE-APACHE", "LICENSE-MIT", "__init__.pyi"}, files)
        metadata = importlib.metadata.metadata("spread-toolkit")
        self.assertEqual(metadata["License-Expression"], "MIT OR Apache-2.0")

    def test_no_libspread_is_loaded(self):
        with open("/proc/self/maps") as file:
            maps = file.read()
        self.assertIn("_spread.abi3.so", maps)
        self.assertNotIn("libspread", maps)
        self.assertNotIn("libtspread", maps)


if __name__ == "__main__":
    unittest.main()
