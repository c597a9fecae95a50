// Which set of instructions this processor has, of those that there is a forward pass for.
#pragma once

namespace anchorage {

enum class Instructions { none, vnni, amx };

Instructions bestInstructions();

}  // namespace anchorage
