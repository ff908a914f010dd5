"""Writes the C++ file that embeds the flattened kernel families: ``python embed.py kernels.cpp``."""

from __future__ import annotations

import sys
from pathlib import Path

from flatten import METAL, families, flatten

__all__ = ["literals"]

# Compilers limit a string literal to 64 KB: longer sources are several literals side by side.
_LITERAL = 8192


def literals(text: str) -> str:
    """A text as C++ literals side by side."""
    lines, parts = text.splitlines(keepends=True), [""]
    for line in lines:
        if len(parts[-1]) + len(line) > _LITERAL:
            parts.append("")
        parts[-1] += line
    return "\n".join(f'R"__msl({part})__msl"' for part in parts)


def main(out: Path) -> None:
    entries = "".join(f'{{"{name}",\n{literals(flatten(METAL / f"{name}.metal"))}}},\n' for name in families())
    out.write_text(
        f"""// Made by metal/tools/embed.py.
#include <stdexcept>
#include <string>

#include "gpu/executor.h"

namespace metalfaiss::gpu {{

namespace {{

struct Family {{
  std::string_view name, source;
}};

const Family kFamilies[] = {{
{entries}}};

}}  // namespace

std::string_view kernel_source(std::string_view family) {{
  for (const Family& f : kFamilies) {{
    if (f.name == family) {{
      return f.source;
    }}
  }}
  throw std::out_of_range("no kernel family " + std::string(family));
}}

std::vector<std::string_view> kernel_families() {{
  std::vector<std::string_view> names;
  for (const Family& f : kFamilies) {{
    names.push_back(f.name);
  }}
  return names;
}}

}}  // namespace metalfaiss::gpu
"""
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
