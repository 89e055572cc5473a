// What a C++ program that embeds mtab does first.
#include <iostream>
#include <mtab.hpp>

int main() {
  try {
    const mtab::Model model("no-such-bundle");
  } catch (const mtab::Error& error) {
    std::cout << "C++ " << mtab_version() << " " << error.name() << "\n";
    return error.code() == MTAB_BUNDLE_ERROR ? 0 : 1;
  }
  return 1;
}
