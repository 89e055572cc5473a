"""The emotion of a clip and its transcript through the C interface: ctypes_example.py BUNDLE CLIP TEXT

$MTAB_LIBRARY names libmtab, and $MTAB_ONNXRUNTIME ONNX Runtime's library, where the system has neither.
"""

import os
import sys
from ctypes import CDLL, Structure, byref, c_char_p, c_double, c_float, c_int32, c_size_t, c_void_p, sizeof


# A structure may end early: what is left out has its default.
class LoadOptions(Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("engine", c_char_p), ("device", c_char_p), ("precision", c_char_p),
        ("threads", c_int32), ("skip_verification", c_int32), ("onnxruntime_library", c_char_p)]  # fmt: skip


class Input(Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("path", c_char_p), ("content", c_void_p), ("content_size", c_size_t),
        ("samples", c_void_p), ("frames", c_size_t), ("channels", c_int32), ("sample_type", c_int32),
        ("sample_rate", c_double), ("start", c_double), ("end", c_double), ("text", c_char_p)]  # fmt: skip


mtab = CDLL(os.environ.get("MTAB_LIBRARY", "libmtab.so.1"))
mtab.mtab_error_message.restype = mtab.mtab_result_label.restype = mtab.mtab_result_class.restype = c_char_p
mtab.mtab_result_count.restype, mtab.mtab_result_probability.restype = c_size_t, c_float


def call(function, *arguments) -> c_void_p:
    made, error = c_void_p(), c_void_p()
    if function(*arguments, byref(made), byref(error)) != 0:
        sys.exit(mtab.mtab_error_message(error).decode())
    return made


bundle, clip, text = map(os.fsencode, sys.argv[1:])
options = LoadOptions(sizeof(LoadOptions), onnxruntime_library=os.environb.get(b"MTAB_ONNXRUNTIME"))
model = call(mtab.mtab_load, bundle, byref(options))
result = call(mtab.mtab_predict, model, byref(Input(sizeof(Input), path=clip, text=text)), None)
print(mtab.mtab_result_label(result).decode())
for i in map(c_size_t, range(mtab.mtab_result_count(result))):
    name, probability = mtab.mtab_result_class(result, i), mtab.mtab_result_probability(result, i)
    print(f"  {name.decode():<10} {probability:.3f}")
mtab.mtab_result_free(result)
mtab.mtab_model_free(model)
