/* What a C program that embeds mtab does first. */
#include <mtab.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  mtab_model *model = NULL;
  mtab_error *error = NULL;
  const mtab_code code = mtab_load("no-such-bundle", NULL, &model, &error);
  const int named = strstr(mtab_error_message(error), "no-such-bundle") != NULL;
  printf("C %s %s\n", mtab_version(), mtab_code_name(code));
  mtab_error_free(error);
  return mtab_abi_version() == MTAB_ABI_VERSION && code == MTAB_BUNDLE_ERROR && model == NULL && named ? 0 : 1;
}
