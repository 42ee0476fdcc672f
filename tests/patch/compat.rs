//! Trees that need compatibility edits, written in the idioms of 2015.

use std::os::unix::fs::symlink;

use crate::Scene;

const MAKEFILE: &str = "LIBRARIES += glog gflags protobuf leveldb snappy \\\n\tlmdb boost_system \\\n\
                        \topencv_core opencv_highgui opencv_imgproc\nPYTHON_LIBRARIES := boost_python python2.7\n\
                        ifeq ($(CPU_ONLY), 1)\nendif\n\n$(DYNAMIC_NAME): $(OBJS) | $(LIB_BUILD_DIR)\n\t$(CXX) -o $@\n";

/// Files with old idioms, and what an apply makes of a line in each.
const OLD: &[(&str, &str, &str)] = &[
    ("Makefile", MAKEFILE, "\tLIBRARIES += opencv_imgcodecs opencv_videoio\nendif\n"),
    (
        "src/caffe/layers/window_data_layer.cpp",
        "#include <opencv2/core/core.hpp>\nint F() { return CV_LOAD_IMAGE_COLOR; }\n",
        "#if CV_MAJOR_VERSION >= 4\n#include <opencv2/imgcodecs/legacy/constants_c.h>\n#endif\n",
    ),
    (
        "src/caffe/layers/contrastive_loss_layer.cpp",
        "  Dtype dist = std::max(margin - sqrt(d), 0.0);\r\n",
        "std::max<Dtype>(margin - sqrt(d), 0.0);\r\n",
    ),
    (
        "src/caffe/layers/cudnn_conv_layer.cpp",
        "  CUDNN_CHECK(cudnnGetConvolutionForwardAlgorithm(handle, b, f, c, t, p, limit, &algo));\n",
        "cudnnGetConvolutionForwardAlgorithm(",
    ),
    (
        "include/caffe/util/cudnn.hpp",
        "#include <cudnn.h>\nnamespace caffe {}\n",
        "#include <cudnn.h>\n\n#if CUDNN_VERSION >= 8000\n",
    ),
    ("python/caffe/pycaffe.py", "n = len(blobs.itervalues().next())\n", "n = len(next(iter(blobs.values())))\n"),
    ("python/caffe/io.py", "img = skimage.io.imread(f, as_grey=not color)\n", "imread(f, not color)\n"),
];

#[test]
fn an_old_tree_gets_every_edit_once_and_is_given_back() {
    let scene = Scene::new();
    for (path, content, _) in OLD {
        scene.write(path, content);
    }
    let before = scene.snapshot();
    let report = scene.apply();
    for name in [
        "opencv4-names",
        "opencv-imgcodecs",
        "contrastive-max",
        "python-libraries",
        "pycaffe-python3",
        "skimage-as-gray",
        "cudnn-8-algorithms",
    ] {
        assert!(report.contains(&format!("compatibility edit {name}: ")), "{name}: {report}");
    }
    for (path, _, expected) in OLD {
        assert!(scene.read(path).contains(expected), "{path}: {}", scene.read(path));
    }

    let once = scene.snapshot();
    assert!(scene.apply().contains("already patched"));
    assert!(scene.snapshot() == once);
    scene.revert();
    assert!(scene.snapshot() == before);
}

#[test]
fn cudnn_s_header_is_left_alone_where_no_layer_chooses_an_algorithm() {
    let scene = Scene::new();
    scene.write("include/caffe/util/cudnn.hpp", "#include <cudnn.h>\n");
    assert!(!scene.apply().contains("cudnn-8-algorithms"));
}

#[test]
fn an_example_for_one_system_serves_where_there_is_no_other() {
    let scene = Scene::new();
    let example = scene.tree().join("Makefile.config.ubuntu.example");
    std::fs::rename(scene.tree().join("Makefile.config.example"), example).unwrap();
    let before = scene.snapshot();
    assert!(scene.apply().contains("edited Makefile.config.ubuntu.example: the library's folders"));
    for path in ["Makefile.config", "Makefile.config.ubuntu.example"] {
        assert!(scene.read(path).contains("GFPQLibs/lib"), "{path}");
    }
    assert!(!scene.tree().join("Makefile.config.example").exists());
    assert!(scene.apply().contains("already patched"));
    scene.revert();
    assert!(scene.snapshot() == before);

    std::fs::remove_file(scene.tree().join("Makefile.config.ubuntu.example")).unwrap();
    scene.refused(&["apply"], "not a Caffe tree: it has no Makefile.config.example");
}

#[test]
fn a_tree_whose_python_module_needs_python_layers_gets_them() {
    let scene = Scene::new();
    scene.write("include/caffe/python_layer.hpp", "extern boost::mutex mtx_;\n");
    assert!(scene.apply().contains("Note: Makefile.config has WITH_PYTHON_LAYER := 1"));
    assert!(scene.read("Makefile.config").contains("\nWITH_PYTHON_LAYER := 1\n"));
    scene.revert();

    let own = "LIBRARY_DIRS := /opt/lib\n";
    scene.write("Makefile.config", own);
    assert!(scene.apply().contains("Note: this tree's Python module needs WITH_PYTHON_LAYER := 1"));
    assert!(!scene.read("Makefile.config").contains("WITH_PYTHON_LAYER"));
}

#[test]
fn a_link_out_of_the_tree_among_the_examples_is_passed_over() {
    let scene = Scene::new();
    let outside = scene.tree().join("../outside.cpp");
    let content = "#include <opencv2/core/core.hpp>\nint i = CV_LOAD_IMAGE_COLOR;\n";
    std::fs::write(&outside, content).unwrap();
    scene.write("examples/own.cpp", content);
    symlink(&outside, scene.tree().join("examples/linked.cpp")).unwrap();
    scene.apply();
    assert!(scene.read("examples/own.cpp").contains("constants_c.h"));
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), content);
}
