"""The programs of the README print what it says."""

import os
import re
import subprocess
import sys
import unittest

from support import TestCase

README = os.path.join(os.path.dirname(__file__), "..", "README.md")


class Readme(TestCase):
    def test_the_programs_print_what_it_says(self):
        with open(README, encoding="utf-8") as file:
            blocks = re.findall(r"```(python|text)\n(.*?)```", file.read(), re.DOTALL)
        programs = [text for kind, text in blocks if kind == "python" and "connect(" in text]
        (output,) = (text for kind, text in blocks if kind == "text")
        daemon = self.connect().private_group.split("#")[2]
        alice, bob = (self.run_program(program) for program in programs)
        self.assertEqual(alice, output.replace("#localhost", f"#{daemon}"))
        self.assertEqual(bob, f"#bob#{daemon}: hello from a task\n")

    def run_program(self, program):
        program = program.replace("4803@localhost", self.address)
        command = [sys.executable, "-c", program.replace('"chat"', repr(self.group()))]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return re.sub(r"py\d+-\d+", "chat", output)


if __name__ == "__main__":
    unittest.main()
