#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/layers/quant_layer.hpp"
#include "caffe/net.hpp"
#include "{{ solver_header }}"
#include "caffe/util/math_functions.hpp"

#include "caffe/test/test_caffe_main.hpp"

namespace caffe {

/// Counts the log's warnings that hold a text.
class WarningCounter : public google::LogSink {
 public:
  explicit WarningCounter(const string& text) : text_(text), count_(0) {
    google::AddLogSink(this);
  }
  virtual ~WarningCounter() { google::RemoveLogSink(this); }
  virtual void send(google::LogSeverity severity, const char* full_filename,
      const char* base_filename, int line, const struct ::tm* tm_time,
      const char* message, size_t message_len) {
    const string text(message, message_len);
    if (severity == google::GLOG_WARNING &&
        text.find(text_) != string::npos) {
      ++count_;
    }
  }
  int count() const { return count_; }

 private:
  const string text_;
  int count_;
};

template <typename TypeParam>
class QuantLayerTest : public MultiDeviceTest<TypeParam> {
  typedef typename TypeParam::Dtype Dtype;

 protected:
  QuantLayerTest()
      : blob_bottom_(new Blob<Dtype>(2, 5, 1, 1)),
        blob_top_(new Blob<Dtype>()) {
    for (int i = 0; i < blob_bottom_->count(); ++i) {
      blob_bottom_->mutable_cpu_data()[i] = Dtype(i);
    }
    blob_bottom_vec_.push_back(blob_bottom_);
    blob_top_vec_.push_back(blob_top_);
    // A fork of a process that has used the GPU cannot.
    ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  }
  virtual ~QuantLayerTest() {
    delete blob_bottom_;
    delete blob_top_;
  }

  static LayerParameter Param(const string& text, Phase phase) {
    LayerParameter param;
    CHECK(google::protobuf::TextFormat::ParseFromString(
        "name: 'my_quant' type: 'Quant' " + text, &param));
    param.set_phase(phase);
    return param;
  }

  void Run(Layer<Dtype>* layer) {
    layer->SetUp(blob_bottom_vec_, blob_top_vec_);
    layer->Forward(blob_bottom_vec_, blob_top_vec_);
  }

  /// A layer with the range that training on 0 ... 9 at 8 bits leaves.
  LayerParameter Trained(const string& text) {
    QuantLayer<Dtype> layer(Param("", TRAIN));
    Run(&layer);
    LayerParameter param = Param(text, TEST), trained;
    layer.ToProto(&trained);
    param.mutable_blobs()->CopyFrom(trained.blobs());
    return param;
  }

  /// The values of 0 ... 9 when the range is that of 9 at 8 bits.
  void ExpectSample(const Blob<Dtype>& blob) const {
    const double expected[] = {0, 1, 2, 2.953652, 4, 4.967431, 5.907305,
        7.025009, 8, 8.724062};
    ASSERT_EQ(blob.count(), 10);
    for (int i = 0; i < 10; ++i) {
      EXPECT_NEAR(blob.cpu_data()[i], expected[i], 1e-6);
    }
  }

  static Dtype RangeBits(const Layer<Dtype>& layer, int pair = 0) {
    return const_cast<Layer<Dtype>&>(layer).blobs()[0]->cpu_data()[2 * pair];
  }
  static Dtype RangeDelta(const Layer<Dtype>& layer, int pair = 0) {
    return
        const_cast<Layer<Dtype>&>(layer).blobs()[0]->cpu_data()[2 * pair + 1];
  }

  Blob<Dtype>* const blob_bottom_;
  Blob<Dtype>* const blob_top_;
  vector<Blob<Dtype>*> blob_bottom_vec_;
  vector<Blob<Dtype>*> blob_top_vec_;
};

TYPED_TEST_CASE(QuantLayerTest, TestDtypesAndDevices);

TYPED_TEST(QuantLayerTest, TestSetUp) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Param("", TRAIN));
  layer.SetUp(this->blob_bottom_vec_, this->blob_top_vec_);
  EXPECT_TRUE(this->blob_top_->shape() == this->blob_bottom_->shape());
  ASSERT_EQ(layer.blobs().size(), 1);
  EXPECT_EQ(this->RangeBits(layer), 0);
  ASSERT_EQ(layer.layer_param().param_size(), 1);
  EXPECT_EQ(layer.layer_param().param(0).lr_mult(), 0);
  EXPECT_EQ(layer.layer_param().param(0).decay_mult(), 0);
}

TYPED_TEST(QuantLayerTest, TestForwardDefaults) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Param("", TRAIN));
  this->Run(&layer);
  this->ExpectSample(*this->blob_top_);
  EXPECT_EQ(this->RangeBits(layer), 8);
  EXPECT_EQ(this->RangeDelta(layer), -77);
  // The bottom is not touched.
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(this->blob_bottom_->cpu_data()[i], i);
  }
}

TYPED_TEST(QuantLayerTest, TestForward16Bit) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Param("quant_param { quant_bits: 16 }", TRAIN));
  this->Run(&layer);
  EXPECT_EQ(this->RangeBits(layer), 16);
  // floor(128 log2(9)) - 1407
  EXPECT_EQ(this->RangeDelta(layer), -1002);
  for (int i = 1; i < 9; ++i) {
    const double q = floor(128 * log(i) / log(2.) + 0.5);
    EXPECT_NEAR(this->blob_top_->cpu_data()[i], pow(2., q / 128), 1e-5);
  }
}

TYPED_TEST(QuantLayerTest, TestForwardNegative) {
  typedef typename TypeParam::Dtype Dtype;
  caffe_scal(10, Dtype(-1), this->blob_bottom_->mutable_cpu_data());
  QuantLayer<Dtype> layer(this->Param("", TRAIN));
  this->Run(&layer);
  EXPECT_EQ(this->blob_top_->cpu_data()[0], 0);
  EXPECT_NEAR(this->blob_top_->cpu_data()[3], -2.953652, 1e-6);
  EXPECT_NEAR(this->blob_top_->cpu_data()[9], -8.724062, 1e-6);
}

TYPED_TEST(QuantLayerTest, TestForwardInPlace) {
  typedef typename TypeParam::Dtype Dtype;
  this->blob_top_vec_[0] = this->blob_bottom_;
  QuantLayer<Dtype> layer(this->Param("", TRAIN));
  this->Run(&layer);
  this->ExpectSample(*this->blob_bottom_);
}

TYPED_TEST(QuantLayerTest, TestForwardDisabled) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Param("quant_param { quant_en: 0 }", TRAIN));
  this->Run(&layer);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(this->blob_top_->cpu_data()[i], i);
  }
  EXPECT_EQ(this->RangeBits(layer), 0);
}

TYPED_TEST(QuantLayerTest, TestTrainRangeGrows) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Param("", TRAIN));
  this->Run(&layer);
  EXPECT_EQ(this->RangeDelta(layer), -77);
  // A smaller batch leaves the range as it is.
  this->blob_bottom_->mutable_cpu_data()[9] = 0;
  layer.Forward(this->blob_bottom_vec_, this->blob_top_vec_);
  EXPECT_EQ(this->RangeDelta(layer), -77);
  // A larger one raises it: floor(16 log2(18)) - 127.
  this->blob_bottom_->mutable_cpu_data()[9] = -18;
  layer.Forward(this->blob_bottom_vec_, this->blob_top_vec_);
  EXPECT_EQ(this->RangeDelta(layer), -61);
  EXPECT_NEAR(this->blob_top_->cpu_data()[9], -17.448123, 1e-5);
}

TYPED_TEST(QuantLayerTest, TestTestRangeIsFixed) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> test_layer(this->Trained(""));
  WarningCounter warnings("my_quant");
  this->blob_bottom_->mutable_cpu_data()[0] = 1000;
  this->Run(&test_layer);
  // 1000 saturates at the largest magnitude, that of 9.
  EXPECT_NEAR(this->blob_top_->cpu_data()[0], 8.724062, 1e-6);
  EXPECT_NEAR(this->blob_top_->cpu_data()[3], 2.953652, 1e-6);
  EXPECT_EQ(this->RangeDelta(test_layer), -77);
  EXPECT_EQ(warnings.count(), 0);
}

TYPED_TEST(QuantLayerTest, TestTestWithoutRange) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Param("", TEST));
  WarningCounter warnings("my_quant");
  this->Run(&layer);
  this->ExpectSample(*this->blob_top_);
  // The next batch has a range of its own.
  this->blob_bottom_->mutable_cpu_data()[9] = 18;
  layer.Forward(this->blob_bottom_vec_, this->blob_top_vec_);
  EXPECT_NEAR(this->blob_top_->cpu_data()[9], 17.448123, 1e-5);
  EXPECT_EQ(this->RangeBits(layer), 0);
  EXPECT_EQ(warnings.count(), 1);
}

TYPED_TEST(QuantLayerTest, TestSeveralPairs) {
  typedef typename TypeParam::Dtype Dtype;
  Blob<Dtype> other_bottom(1, 1, 1, 2);
  Blob<Dtype> other_top;
  other_bottom.mutable_cpu_data()[0] = 64;
  other_bottom.mutable_cpu_data()[1] = 3;
  this->blob_bottom_vec_.push_back(&other_bottom);
  this->blob_top_vec_.push_back(&other_top);
  QuantLayer<Dtype> layer(this->Param("", TRAIN));
  this->Run(&layer);
  this->ExpectSample(*this->blob_top_);
  EXPECT_EQ(other_top.cpu_data()[0], 64);
  EXPECT_NEAR(other_top.cpu_data()[1], 2.953652, 1e-6);
  EXPECT_EQ(this->RangeDelta(layer, 0), -77);
  EXPECT_EQ(this->RangeDelta(layer, 1), 6 * 16 - 127);
}

TYPED_TEST(QuantLayerTest, TestBackward) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Param("", TRAIN));
  this->Run(&layer);
  for (int i = 0; i < 10; ++i) {
    this->blob_top_->mutable_cpu_diff()[i] = i - 4.5;
    this->blob_bottom_->mutable_cpu_diff()[i] = 100;
  }
  layer.Backward(this->blob_top_vec_, vector<bool>(1, false),
      this->blob_bottom_vec_);
  EXPECT_EQ(this->blob_bottom_->cpu_diff()[3], 100);
  layer.Backward(this->blob_top_vec_, vector<bool>(1, true),
      this->blob_bottom_vec_);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(this->blob_bottom_->cpu_diff()[i], Dtype(i - 4.5));
  }
}

TYPED_TEST(QuantLayerTest, TestBackwardInPlace) {
  typedef typename TypeParam::Dtype Dtype;
  this->blob_top_vec_[0] = this->blob_bottom_;
  QuantLayer<Dtype> layer(this->Param("", TRAIN));
  this->Run(&layer);
  for (int i = 0; i < 10; ++i) {
    this->blob_bottom_->mutable_cpu_diff()[i] = i - 4.5;
  }
  layer.Backward(this->blob_top_vec_, vector<bool>(1, true),
      this->blob_bottom_vec_);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(this->blob_bottom_->cpu_diff()[i], Dtype(i - 4.5));
  }
}

// Reshape, and layers like it, hand their gradient down by sharing memory with
// their top: what the Quant layer writes has to arrive there.
TYPED_TEST(QuantLayerTest, TestBackwardToSharedDiff) {
  typedef typename TypeParam::Dtype Dtype;
  NetParameter param;
  CHECK(google::protobuf::TextFormat::ParseFromString(
      "layer { name: 'data' type: 'DummyData' top: 'data' top: 'label' "
      "  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } "
      "    data_filler { type: 'constant' value: 9 } "
      "    data_filler { type: 'constant' value: 1 } } } "
      "layer { name: 'ip0' type: 'InnerProduct' bottom: 'data' top: 'ip0' "
      "  inner_product_param { num_output: 6 "
      "    weight_filler { type: 'constant' value: 0.1 } } } "
      "layer { name: 'reshape' type: 'Reshape' bottom: 'ip0' top: 'reshape' "
      "  reshape_param { shape { dim: 0 dim: 2 dim: 3 } } } "
      "layer { name: 'quant' type: 'Quant' bottom: 'reshape' top: 'quant' } "
      "layer { name: 'ip1' type: 'InnerProduct' bottom: 'quant' top: 'ip1' "
      "  inner_product_param { num_output: 2 "
      "    weight_filler { type: 'constant' value: 0.1 } } } "
      "layer { name: 'loss' type: 'EuclideanLoss' bottom: 'ip1' "
      "  bottom: 'label' top: 'loss' }", &param));
  Net<Dtype> net(param);
  for (int iteration = 0; iteration < 2; ++iteration) {
    Blob<Dtype>* weight = net.layer_by_name("ip0")->blobs()[0].get();
    caffe_set(weight->count(), Dtype(0), weight->mutable_cpu_diff());
    net.ForwardFromTo(0, net.layers().size() - 1);
    net.BackwardFromTo(net.layers().size() - 1, 0);
    for (int i = 0; i < weight->count(); ++i) {
      EXPECT_NE(weight->cpu_diff()[i], 0);
    }
  }
}

TYPED_TEST(QuantLayerTest, TestNonfinite) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Param("", TRAIN));
  WarningCounter warnings("my_quant");
  this->Run(&layer);
  EXPECT_EQ(warnings.count(), 0);
  Dtype* data = this->blob_bottom_->mutable_cpu_data();
  data[0] = std::numeric_limits<Dtype>::quiet_NaN();
  data[1] = -std::numeric_limits<Dtype>::infinity();
  layer.Forward(this->blob_bottom_vec_, this->blob_top_vec_);
  // In GPU mode the next Forward warns of what the GPU has found by then.
  this->blob_top_->cpu_data();
  layer.Forward(this->blob_bottom_vec_, this->blob_top_vec_);
  EXPECT_EQ(warnings.count(), 1);
  EXPECT_EQ(this->blob_top_->cpu_data()[0], 0);
  // The range is at its end, and minus infinity at its smallest magnitude.
  EXPECT_EQ(this->RangeDelta(layer), 511);
  EXPECT_NEAR(this->blob_top_->cpu_data()[1] / -pow(2., 32), 1, 1e-6);
}

TYPED_TEST(QuantLayerTest, TestLargeFiniteIsNotNonfinite) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Param("", TRAIN));
  WarningCounter warnings("my_quant");
  this->blob_bottom_->mutable_cpu_data()[0] = std::numeric_limits<Dtype>::max();
  this->blob_bottom_->mutable_cpu_data()[1] = std::numeric_limits<Dtype>::max();
  this->Run(&layer);
  EXPECT_EQ(warnings.count(), 0);
}

TYPED_TEST(QuantLayerTest, TestRangeOfOtherWidthFails) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Trained("quant_param { quant_bits: 16 }"));
  EXPECT_DEATH(this->Run(&layer), "my_quant.*stored range is one of 8 bits");
}

TYPED_TEST(QuantLayerTest, TestTrainOnRangeOfOtherWidthFails) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> layer(this->Param("quant_param { quant_bits: 16 }", TRAIN));
  layer.SetUp(this->blob_bottom_vec_, this->blob_top_vec_);
  layer.blobs()[0]->mutable_cpu_data()[0] = 8;
  if (Caffe::mode() == Caffe::GPU) {
    // As a solver for several GPUs leaves it.
    layer.blobs()[0]->mutable_gpu_data();
  }
  EXPECT_DEATH(layer.Forward(this->blob_bottom_vec_, this->blob_top_vec_),
      "my_quant.*stored range is one of 8 bits");
}

TYPED_TEST(QuantLayerTest, TestBadParametersFail) {
  typedef typename TypeParam::Dtype Dtype;
  QuantLayer<Dtype> bits(this->Param("quant_param { quant_bits: 7 }", TRAIN));
  EXPECT_DEATH(this->Run(&bits), "my_quant: quant_bits is 7");
  QuantLayer<Dtype> trained(this->Param("param { lr_mult: 1 }", TRAIN));
  EXPECT_DEATH(this->Run(&trained), "my_quant: cannot train");
}

TYPED_TEST(QuantLayerTest, TestSolverKeepsRange) {
  typedef typename TypeParam::Dtype Dtype;
  SolverParameter param;
  const string device = Caffe::mode() == Caffe::CPU ? "CPU" : "GPU";
  CHECK(google::protobuf::TextFormat::ParseFromString(
      "base_lr: 0.5 momentum: 0.9 weight_decay: 0.1 lr_policy: 'fixed' "
      "max_iter: 5 snapshot_after_train: false solver_mode: " + device +
      " net_param { "
      "  layer { name: 'data' type: 'DummyData' top: 'data' top: 'label' "
      "    dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 1 } "
      "      data_filler { type: 'constant' value: 9 } "
      "      data_filler { type: 'constant' value: 1 } } } "
      "  layer { name: 'quant' type: 'Quant' bottom: 'data' top: 'quant' } "
      "  layer { name: 'ip' type: 'InnerProduct' bottom: 'quant' top: 'ip' "
      "    inner_product_param { num_output: 1 "
      "      weight_filler { type: 'constant' value: 0.1 } } } "
      "  layer { name: 'loss' type: 'EuclideanLoss' bottom: 'ip' "
      "    bottom: 'label' top: 'loss' } }", &param));
  SGDSolver<Dtype> solver(param);
  solver.Step(5);
  shared_ptr<Layer<Dtype> > quant = solver.net()->layer_by_name("quant");
  EXPECT_EQ(this->RangeBits(*quant), 8);
  EXPECT_EQ(this->RangeDelta(*quant), -77);
  // The range travels with the model.
  NetParameter model;
  solver.net()->ToProto(&model);
  NetParameter test_param = param.net_param();
  test_param.mutable_state()->set_phase(TEST);
  Net<Dtype> net(test_param);
  net.CopyTrainedLayersFrom(model);
  WarningCounter warnings("quant");
  net.ForwardFromTo(0, net.layers().size() - 1);
  EXPECT_NEAR(net.blob_by_name("quant")->cpu_data()[0], 8.724062, 1e-6);
  EXPECT_EQ(this->RangeDelta(*net.layer_by_name("quant")), -77);
  EXPECT_EQ(warnings.count(), 0);
}

}  // namespace caffe
