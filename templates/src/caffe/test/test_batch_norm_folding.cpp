#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/net.hpp"
#include "caffe/util/math_functions.hpp"

#include "caffe/test/test_caffe_main.hpp"

#include "gfpq.hpp"

namespace caffe {

template <typename TypeParam>
class BatchNormFoldingTest : public MultiDeviceTest<TypeParam> {
  typedef typename TypeParam::Dtype Dtype;

 protected:
  static const char* Convolution() {
    return "type: 'Convolution' convolution_param { num_output: 4 group: 2 "
        "kernel_size: 3 weight_filler { type: 'gaussian' } }";
  }

  static const char* Deconvolution() {
    return "type: 'Deconvolution' convolution_param { num_output: 6 group: 2 "
        "kernel_size: 2 stride: 2 weight_filler { type: 'gaussian' } }";
  }

  static const char* InnerProduct() {
    return "type: 'InnerProduct' inner_product_param { num_output: 5 "
        "weight_filler { type: 'gaussian' } }";
  }

  static const char* TransposedInnerProduct() {
    return "type: 'InnerProduct' inner_product_param { num_output: 5 "
        "transpose: true weight_filler { type: 'gaussian' } }";
  }

  static string BatchNorm(const string& bottom, const string& top) {
    return " layer { name: 'bn' type: 'BatchNorm' bottom: '" + bottom +
        "' top: '" + top + "' batch_norm_param { eps: 0.01 } } ";
  }

  static string Scale(const string& bottom, const string& top) {
    return " layer { name: 'scale' type: 'Scale' bottom: '" + bottom +
        "' top: '" + top + "' scale_param { bias_term: true } } ";
  }

  static string InPlace() {
    return BatchNorm("weights", "weights") + Scale("weights", "weights");
  }

  /// A layer with weights and what is behind it.
  static shared_ptr<Net<Dtype> > MakeNet(const string& layer,
      const string& behind, const string& options, Phase phase) {
    NetParameter param;
    CHECK(google::protobuf::TextFormat::ParseFromString(
        "force_backward: true " + options +
        " layer { name: 'data' type: 'DummyData' top: 'data' "
        "  dummy_data_param { shape { dim: 3 dim: 4 dim: 5 dim: 6 } "
        "    data_filler { type: 'gaussian' } } } "
        " layer { name: 'weights' bottom: 'data' top: 'weights' " + layer +
        " } " + behind, &param));
    param.mutable_state()->set_phase(phase);
    Caffe::set_random_seed(1701);
    return shared_ptr<Net<Dtype> >(new Net<Dtype>(param));
  }

  static Blob<Dtype>* Param(const Net<Dtype>& net, const string& layer,
      int index) {
    return net.layer_by_name(layer)->blobs()[index].get();
  }

  static vector<Dtype> Values(const Blob<Dtype>& blob, bool diff = false) {
    const Dtype* data = diff ? blob.cpu_diff() : blob.cpu_data();
    return vector<Dtype>(data, data + blob.count());
  }

  static void Set(Blob<Dtype>* blob, double first, double step) {
    for (int i = 0; i < blob->count(); ++i) {
      blob->mutable_cpu_data()[i] = first + step * i;
    }
  }

  /// Statistics and factors as if trained: unequal, one 0, one negative.
  static void Train(const Net<Dtype>& net) {
    Set(Param(net, "weights", 1), -0.5, 0.25);
    if (net.has_layer("bn")) {
      Set(Param(net, "bn", 0), 3, -11);
      Set(Param(net, "bn", 1), 0.5, 70);
      Set(Param(net, "bn", 2), 37, 0);
    }
    if (net.has_layer("scale")) {
      Set(Param(net, "scale", 0), 0.75, -0.375);
      Set(Param(net, "scale", 1), 0.1, 0.2);
    }
  }

  /// The output channel of a weight.
  static int Channel(const Net<Dtype>& net, int index) {
    const Blob<Dtype>& weight = *Param(net, "weights", 0);
    const LayerParameter& param =
        net.layer_by_name("weights")->layer_param();
    if (param.type() == "Deconvolution") {
      const int input = index / weight.count(1);
      const int group = input / (weight.shape(0) / 2);
      return group * weight.shape(1) +
          index / weight.count(2) % weight.shape(1);
    }
    return param.inner_product_param().transpose() ?
        index % weight.shape(1) : index / weight.count(1);
  }

  static vector<Dtype> Factors(const Net<Dtype>& net) {
    vector<Dtype> factors;
    for (int c = 0; c < Param(net, "weights", 1)->count(); ++c) {
      double factor = 1;
      if (net.has_layer("bn")) {
        const double variance = Values(*Param(net, "bn", 1))[c] *
            (1. / Values(*Param(net, "bn", 2))[0]);
        factor /= std::sqrt(variance + 0.01f);
      }
      if (net.has_layer("scale")) {
        factor *= Values(*Param(net, "scale", 0))[c];
      }
      factors.push_back(factor);
    }
    return factors;
  }

  static void Quantize(Blob<Dtype>* blob, int bits) {
    CHECK_EQ(HI_GFPQ_QuantAndDeQuant(blob->mutable_cpu_data(), blob->count(),
        bits, NULL), GFPQ_SUCCESS);
  }

  /// Gives a net without the quantizer the weights that one with it shows.
  static void QuantizeByHand(const Net<Dtype>& net, bool fold, int bits = 8) {
    Blob<Dtype>* weight = Param(net, "weights", 0);
    if (!fold) {
      Quantize(weight, bits);
      return;
    }
    const vector<Dtype> masters = Values(*weight);
    const vector<Dtype> factors = Factors(net);
    Dtype* data = weight->mutable_cpu_data();
    for (int i = 0; i < weight->count(); ++i) {
      data[i] = masters[i] * factors[Channel(net, i)];
    }
    Quantize(weight, bits);
    for (int i = 0; i < weight->count(); ++i) {
      const Dtype factor = factors[Channel(net, i)];
      data[i] = factor == 0 ? masters[i] : data[i] / factor;
    }
  }

  static void ForwardBackward(Net<Dtype>* net) {
    Caffe::set_random_seed(1702);
    for (int i = 0; i < net->params().size(); ++i) {
      Blob<Dtype>* param = net->params()[i].get();
      caffe_set(param->count(), Dtype(0), param->mutable_cpu_diff());
    }
    net->Forward();
    Blob<Dtype>* top = net->blobs().back().get();
    for (int i = 0; i < top->count(); ++i) {
      top->mutable_cpu_diff()[i] = std::sin(Dtype(i));
    }
    net->Backward();
  }

  static void ExpectSame(const Net<Dtype>& a, const Net<Dtype>& b) {
    for (int i = 0; i < a.blobs().size(); ++i) {
      EXPECT_TRUE(Values(*a.blobs()[i]) == Values(*b.blobs()[i]))
          << a.blob_names()[i];
      EXPECT_TRUE(Values(*a.blobs()[i], true) == Values(*b.blobs()[i], true))
          << "gradient of " << a.blob_names()[i];
    }
    for (int i = 0; i < a.params().size(); ++i) {
      EXPECT_TRUE(Values(*a.params()[i], true) == Values(*b.params()[i], true))
          << "gradient of parameter " << i;
    }
  }

  /// Compares the net with one whose weights are quantized by hand.
  static void Check(const string& layer, const string& behind, bool fold,
      const string& options = "weight_quant_param { fold_batch_norm: 1 }",
      int bits = 8, Phase phase = TRAIN) {
    shared_ptr<Net<Dtype> > net = MakeNet(layer, behind, options, phase);
    shared_ptr<Net<Dtype> > plain = MakeNet(layer, behind, "", phase);
    Train(*net);
    Train(*plain);
    const vector<Dtype> masters = Values(*Param(*net, "weights", 0));
    QuantizeByHand(*plain, fold, bits);
    ForwardBackward(net.get());
    ForwardBackward(plain.get());
    ExpectSame(*net, *plain);
    EXPECT_TRUE(Values(*Param(*net, "weights", 0)) == masters);
    EXPECT_FALSE(Values(*Param(*plain, "weights", 0)) == masters);
  }

  /// Compares with the folded net: its weights and its bias by hand.
  static void CheckFolded(const string& layer) {
    shared_ptr<Net<Dtype> > net = MakeNet(layer, InPlace(),
        "weight_quant_param { fold_batch_norm: 1 }", TEST);
    shared_ptr<Net<Dtype> > folded =
        MakeNet(layer, "", "weight_quant_param { }", TEST);
    Train(*net);
    const vector<Dtype> factors = Factors(*net);
    folded->CopyTrainedLayersFrom(ToProto(*net));
    Blob<Dtype>* weight = Param(*folded, "weights", 0);
    for (int i = 0; i < weight->count(); ++i) {
      weight->mutable_cpu_data()[i] *= factors[Channel(*folded, i)];
    }
    Blob<Dtype>* bias = Param(*folded, "weights", 1);
    for (int c = 0; c < bias->count(); ++c) {
      const Dtype mean = Values(*Param(*net, "bn", 0))[c] /
          Values(*Param(*net, "bn", 2))[0];
      bias->mutable_cpu_data()[c] =
          (Values(*bias)[c] - mean) * factors[c] +
          Values(*Param(*net, "scale", 1))[c];
    }
    Caffe::set_random_seed(1702);
    net->Forward();
    Caffe::set_random_seed(1702);
    folded->Forward();
    const vector<Dtype> expected = Values(*net->blob_by_name("weights"));
    const vector<Dtype> actual = Values(*folded->blob_by_name("weights"));
    Dtype largest = 0;
    for (int i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, std::abs(expected[i]));
    }
    EXPECT_GT(largest, 0.1);
    for (int i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(actual[i], expected[i], 1e-5 * largest);
    }
  }

  static NetParameter ToProto(const Net<Dtype>& net) {
    NetParameter param;
    net.ToProto(&param, false);
    return param;
  }
};

TYPED_TEST_CASE(BatchNormFoldingTest, TestDtypesAndDevices);

TYPED_TEST(BatchNormFoldingTest, TestForwardBackward) {
  this->Check(this->Convolution(), this->InPlace(), true);
  this->Check(this->Deconvolution(), this->InPlace(), true);
  this->Check(this->InnerProduct(), this->InPlace(), true);
  this->Check(this->TransposedInnerProduct(), this->InPlace(), true);
}

TYPED_TEST(BatchNormFoldingTest, TestNotInPlace) {
  this->Check(this->Convolution(),
      this->BatchNorm("weights", "a") + this->Scale("a", "b"), true);
  this->Check(this->Convolution(), this->BatchNorm("weights", "a"), true);
  this->Check(this->Convolution(), this->Scale("weights", "a"), true);
}

TYPED_TEST(BatchNormFoldingTest, TestTestPhase) {
  this->Check(this->Convolution(), this->InPlace(), true,
      "weight_quant_param { fold_batch_norm: 1 }", 8, TEST);
}

TYPED_TEST(BatchNormFoldingTest, TestOptions) {
  this->Check(this->Convolution(), this->InPlace(), true,
      "weight_quant_param { quant_bits: 16 fold_batch_norm: 1 }", 16);
  this->Check(this->Convolution(), this->InPlace(), false,
      "weight_quant_param { }");
  this->Check(string("quant_param { fold_batch_norm: 0 } ") +
      this->Convolution(), this->InPlace(), false);
}

TYPED_TEST(BatchNormFoldingTest, TestWhatDoesNotFold) {
  // Another reader.
  this->Check(this->Convolution(),
      " layer { name: 'abs' type: 'AbsVal' bottom: 'weights' top: 'abs' } " +
      this->BatchNorm("weights", "a"), false);
  // Something in between.
  this->Check(this->Convolution(),
      " layer { name: 'relu' type: 'ReLU' bottom: 'weights' top: 'weights' } " +
      this->InPlace(), false);
  // Nothing behind.
  this->Check(this->Convolution(), "", false);
}

TYPED_TEST(BatchNormFoldingTest, TestStatisticsNotYetSet) {
  typedef typename TypeParam::Dtype Dtype;
  shared_ptr<Net<Dtype> > net = this->MakeNet(this->Convolution(),
      this->InPlace(), "weight_quant_param { fold_batch_norm: 1 }", TRAIN);
  shared_ptr<Net<Dtype> > plain = this->MakeNet(this->Convolution(),
      this->InPlace(), "", TRAIN);
  this->QuantizeByHand(*plain, false);
  this->ForwardBackward(net.get());
  this->ForwardBackward(plain.get());
  this->ExpectSame(*net, *plain);
}

TYPED_TEST(BatchNormFoldingTest, TestStatisticsNotFinite) {
  typedef typename TypeParam::Dtype Dtype;
  shared_ptr<Net<Dtype> > net = this->MakeNet(this->Convolution(),
      this->BatchNorm("weights", "a"),
      "weight_quant_param { fold_batch_norm: 1 }", TRAIN);
  shared_ptr<Net<Dtype> > plain = this->MakeNet(this->Convolution(),
      this->BatchNorm("weights", "a"), "", TRAIN);
  this->Train(*net);
  this->Param(*net, "bn", 1)->mutable_cpu_data()[0] =
      std::numeric_limits<Dtype>::quiet_NaN();
  this->QuantizeByHand(*plain, false);
  // In TRAIN each batch has statistics of its own.
  this->Train(*plain);
  this->ForwardBackward(net.get());
  this->ForwardBackward(plain.get());
  EXPECT_TRUE(this->Values(*net->blob_by_name("a")) ==
      this->Values(*plain->blob_by_name("a")));
}

TYPED_TEST(BatchNormFoldingTest, TestEqualsFoldedNet) {
  this->CheckFolded(this->Convolution());
  this->CheckFolded(this->Deconvolution());
  this->CheckFolded(this->InnerProduct());
  this->CheckFolded(this->TransposedInnerProduct());
}

TYPED_TEST(BatchNormFoldingTest, TestTraining) {
  typedef typename TypeParam::Dtype Dtype;
  shared_ptr<Net<Dtype> > net = this->MakeNet(this->Convolution(),
      this->InPlace(), "weight_quant_param { fold_batch_norm: 1 }", TRAIN);
  const vector<Dtype> before = this->Values(*this->Param(*net, "weights", 0));
  for (int i = 0; i < 5; ++i) {
    this->ForwardBackward(net.get());
    for (int j = 0; j < net->learnable_params().size(); ++j) {
      Blob<Dtype>* param = net->learnable_params()[j];
      caffe_scal(param->count(), Dtype(1e-3 * net->params_lr()[j]),
          param->mutable_cpu_diff());
      param->Update();
    }
  }
  const vector<Dtype> after = this->Values(*this->Param(*net, "weights", 0));
  for (int i = 0; i < before.size(); ++i) {
    // The masters take steps far smaller than a code.
    EXPECT_NE(after[i], before[i]);
    EXPECT_NEAR(after[i], before[i], 0.1);
  }
}

}  // namespace caffe
