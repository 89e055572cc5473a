#include "python_text.hpp"

#include <gtest/gtest.h>

#include <clocale>
#include <limits>
#include <string>

namespace mtab_core {
namespace {

// What Python 3 prints.
TEST(PythonText, NumbersAreThose) {
  EXPECT_EQ(repr(0.1), "0.1");
  EXPECT_EQ(repr(1.0), "1.0");
  EXPECT_EQ(repr(0.0), "0.0");
  EXPECT_EQ(repr(-0.0), "-0.0");
  EXPECT_EQ(repr(1e15), "1000000000000000.0");
  EXPECT_EQ(repr(1e16), "1e+16");
  EXPECT_EQ(repr(1e-4), "0.0001");
  EXPECT_EQ(repr(1.5e-5), "1.5e-05");
  EXPECT_EQ(repr(static_cast<double>(0.3F)), "0.30000001192092896");
  EXPECT_EQ(repr(static_cast<double>(1e-7F)), "1.0000000116860974e-07");
  EXPECT_EQ(repr(123456789.123456789), "123456789.12345679");
  EXPECT_EQ(repr(5e-324), "5e-324");
  EXPECT_EQ(repr(std::numeric_limits<double>::max()), "1.7976931348623157e+308");
  EXPECT_EQ(repr(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(repr(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(fixed(2.675, 2), "2.67");
  EXPECT_EQ(fixed(1e300, 1).size(), 303U);
  EXPECT_EQ(general(2147483648.0), "2.14748e+09");
}

TEST(PythonText, NumbersAreThoseOfNoLocale) {
  if (std::setlocale(LC_NUMERIC, "de_DE.UTF-8") == nullptr) GTEST_SKIP() << "no locale with a decimal comma";
  EXPECT_EQ(fixed(2.5, 1), "2.5");
  EXPECT_EQ(general(0.25), "0.25");
  EXPECT_EQ(repr(0.1), "0.1");
  std::setlocale(LC_NUMERIC, "C");
}

TEST(PythonText, TextsAreThose) {
  EXPECT_EQ(in_quotes("a"), "'a'");
  EXPECT_EQ(in_quotes("it's"), "\"it's\"");
  EXPECT_EQ(in_quotes("it's \"it\""), "'it\\'s \"it\"'");
  EXPECT_EQ(in_quotes("a\\b\n\x01"), "'a\\\\b\\n\\x01'");
  EXPECT_EQ(listed({"a", "b"}), "['a', 'b']");
  EXPECT_EQ(joined({}), "");
}

// bytes.decode(errors="surrogateescape"), each surrogate as U+FFFD
TEST(PythonText, NamesAreValid) {
  EXPECT_EQ(printable("a\xC3\xA4.wav"), "a\xC3\xA4.wav");
  EXPECT_EQ(printable("a\xFF\xFE.wav"), "a\xEF\xBF\xBD\xEF\xBF\xBD.wav");
  EXPECT_EQ(printable("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(printable("\xE2\x82"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(printable("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
}

// A program may have chosen a locale with other points.
TEST(PythonText, NumbersFollowNoLocale) {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"}) {
    if (std::setlocale(LC_ALL, name) != nullptr) break;
  }
  EXPECT_EQ(fixed(0.4, 2), "0.40");
  EXPECT_EQ(general(0.3), "0.3");
  EXPECT_EQ(repr(1.5), "1.5");
  std::setlocale(LC_ALL, before.c_str());
}

TEST(PythonText, PathsAreThose) {
  EXPECT_EQ(plain_path("./a.wav"), "a.wav");
  EXPECT_EQ(plain_path("a//b/./c/"), "a/b/c");
  EXPECT_EQ(plain_path("/"), "/");
  EXPECT_EQ(plain_path("//a"), "//a");
  EXPECT_EQ(plain_path("///a"), "/a");
  EXPECT_EQ(plain_path("."), ".");
  EXPECT_EQ(plain_path("../a"), "../a");
  EXPECT_EQ(plain_path(""), "''");
}

}  // namespace
}  // namespace mtab_core
