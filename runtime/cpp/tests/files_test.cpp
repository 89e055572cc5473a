#include "files.hpp"

#include <cstdlib>

#include "error.hpp"
#include "hash_cache.hpp"
#include "json.hpp"
#include "schema.hpp"
#include "sha256.hpp"
#include "support.hpp"

namespace mtab_core {
namespace {

// The examples of FIPS 180-4 and of NIST's test vectors.
TEST(Sha256, IsThatOfTheStandard) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, IsTheSameInPieces) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (std::size_t piece = 1; piece < 130; ++piece) {
    Sha256 hash;
    for (std::size_t start = 0; start < text.size(); start += piece) hash.add(text.substr(start, piece));
    EXPECT_EQ(hash.hex(), sha256(text)) << piece;
  }
}

TEST(Sha256, OfAFile) {
  const mtab_test::TemporaryFolder folder;
  EXPECT_EQ(sha256_of_file(folder.write("a", std::string(700000, 'x'))), sha256(std::string(700000, 'x')));
  EXPECT_THROW(sha256_of_file(folder.path() / "b"), std::system_error);
}

TEST(Json, OfWhatIsNoneIsAnErrorThatNamesTheFile) {
  const mtab_test::TemporaryFolder folder;
  for (const char* text :
       {"", "{", "[1,]", "NaN", "{\"a\": Infinity}", "\xff", "\xEF\xBB\xBF{}", "'a'", "{} x"}) {
    const Path path = folder.write("a.json", text);
    try {
      read_json(path);
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), MTAB_CONFIG_ERROR);
      EXPECT_EQ(error.message().rfind(path.string() + ": is not JSON (", 0), 0U) << error.message();
    }
  }
  try {
    read_json(folder.path() / "gone.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), (folder.path() / "gone.json").string() + ": not found, expected a JSON file");
  }
}

TEST(Json, OfAnyDepthIsRead) {
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  EXPECT_TRUE(parse_json(deep, "deep").is_array());
}

// What Python's reprlib makes of them: cut between characters, and never within one.
TEST(Schema, CutsLongTextsBetweenCharacters) {
  const auto found = [](const std::string& text) {
    try {
      require_type(Json(text), "Manifest", "a");
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("none");
  };
  const auto expected = [](const std::string& text) {
    return "a: field 'at the top' is " + text + " (str), expected an object (Manifest)";
  };
  std::string accents;
  for (int i = 0; i < 40; ++i) accents += "\u00e9";
  const std::string cut = accents.substr(0, 24) + "..." + accents.substr(0, 26);
  EXPECT_EQ(found(accents), expected("'" + cut + "'"));
  EXPECT_EQ(found(accents.substr(0, 56)), expected("'" + accents.substr(0, 56) + "'"));
  EXPECT_EQ(found(std::string(28, 'x')), expected("'" + std::string(28, 'x') + "'"));
  EXPECT_EQ(found(std::string(29, 'x')), expected("'xxxxxxxxxxxx...xxxxxxxxxxxxx'"));
  EXPECT_EQ(found(std::string(20, '\n') + accents.substr(0, 60)),
            expected("'\\n\\n\\n\\n\\n\\n..." + accents.substr(0, 26) + "'"));
}

TEST(WriteWhole, LeavesNothingBesideTheFile) {
  const mtab_test::TemporaryFolder folder;
  write_whole(folder.path() / "a" / "b.json", "one");
  write_whole(folder.path() / "a" / "b.json", "two");
  EXPECT_EQ(read_file(folder.path() / "a" / "b.json"), "two");
  const auto files = std::filesystem::directory_iterator(folder.path() / "a");
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
  folder.write("c", "");
  EXPECT_THROW(write_whole(folder.path() / "c" / "d", "three"), std::exception);
}

TEST(HashCache, RemembersUntilAFileIsTouched) {
  const mtab_test::TemporaryFolder folder;
  const mtab_test::TemporaryFolder cache;
  const Path file = folder.write("a", "one");
  // As if it had settled.
  const auto before = std::filesystem::file_time_type::clock::now() - std::chrono::hours(1);
  std::filesystem::last_write_time(file, before);
  {
    HashCache hashes(folder.path(), cache.path());
    EXPECT_EQ(hashes.sha256("a"), sha256("one"));
    hashes.save();
  }
  folder.write("a", "two");
  HashCache hashes(folder.path(), cache.path());
  EXPECT_EQ(hashes.sha256("a"), sha256("two"));
}

TEST(HashCache, OfNoFolderOrABrokenOneStillHashes) {
  const mtab_test::TemporaryFolder folder;
  const mtab_test::TemporaryFolder cache;
  folder.write("a", "one");
  for (const Path& place : {Path(), cache.path(), Path("/proc/no/such/place")}) {
    HashCache hashes(folder.path(), place);
    EXPECT_EQ(hashes.sha256("a"), sha256("one"));
    hashes.save();
  }
}

TEST(DefaultCacheDir, FollowsTheEnvironment) {
  const auto with = [](const char* mtab, const char* xdg, const char* home) {
    ::setenv("MTAB_CACHE", mtab, 1);
    ::setenv("XDG_CACHE_HOME", xdg, 1);
    ::setenv("HOME", home, 1);
    return default_cache_dir().string();
  };
  const std::string cache = mtab_test::environment("MTAB_CACHE").value_or("");
  const std::string home = mtab_test::environment("HOME").value_or("");
  EXPECT_EQ(with("/a/b", "/c", "/d"), "/a/b");
  EXPECT_EQ(with("~/b", "/c", "/d"), "/d/b");
  EXPECT_EQ(with("", "/c", "/d"), "/c/mtab");
  EXPECT_EQ(with("", "relative", "/d"), "/d/.cache/mtab");
  EXPECT_EQ(with("", "", "relative"), "");
  ::setenv("MTAB_CACHE", cache.c_str(), 1);
  ::setenv("HOME", home.c_str(), 1);
  ::unsetenv("XDG_CACHE_HOME");
}

TEST(OneLine, HasSingleBlanks) { EXPECT_EQ(one_line("  a \n\t b  "), "a b"); }

}  // namespace
}  // namespace mtab_core
