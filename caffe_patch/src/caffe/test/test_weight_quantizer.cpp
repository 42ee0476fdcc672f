#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/net.hpp"
#include "caffe/sgd_solvers.hpp"
#include "caffe/util/math_functions.hpp"

#include "caffe/test/test_caffe_main.hpp"

#include "gfpq.hpp"

namespace caffe {

template <typename TypeParam>
class WeightQuantizerTest : public MultiDeviceTest<TypeParam> {
  typedef typename TypeParam::Dtype Dtype;

 protected:
  /// Two inner products in a row, 3 -> 3 -> 2, the second by another name.
  static string NetText(const string& net_options,
      const string& second_name = "ip2", const string& second_options = "") {
    return net_options +
        " layer { name: 'data' type: 'DummyData' top: 'data' top: 'label' "
        "  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } "
        "    data_filler { type: 'uniform' min: 0.5 max: 1.5 } "
        "    data_filler { type: 'constant' value: 1 } } } "
        " layer { name: 'ip1' type: 'InnerProduct' bottom: 'data' top: 'ip1' "
        "  inner_product_param { num_output: 3 "
        "    weight_filler { type: 'uniform' min: -1 max: 1 } "
        "    bias_filler { type: 'constant' value: 0.37 } } } "
        " layer { name: '" + second_name + "' type: 'InnerProduct' "
        "  bottom: 'ip1' top: 'ip2' " + second_options +
        "  inner_product_param { num_output: 2 "
        "    weight_filler { type: 'uniform' min: -1 max: 1 } } } "
        " layer { name: 'loss' type: 'EuclideanLoss' bottom: 'ip2' "
        "  bottom: 'label' top: 'loss' } ";
  }

  static NetParameter Parse(const string& text) {
    NetParameter param;
    CHECK(google::protobuf::TextFormat::ParseFromString(
        "force_backward: true " + text, &param));
    return param;
  }

  static shared_ptr<Net<Dtype> > MakeNet(const string& text) {
    Caffe::set_random_seed(1701);
    return shared_ptr<Net<Dtype> >(new Net<Dtype>(Parse(text)));
  }

  static vector<Dtype> Values(const Blob<Dtype>& blob, bool diff = false) {
    const Dtype* data = diff ? blob.cpu_diff() : blob.cpu_data();
    return vector<Dtype>(data, data + blob.count());
  }

  static vector<Dtype> Weights(const Net<Dtype>& net, const string& layer) {
    return Values(*net.layer_by_name(layer)->blobs()[0]);
  }

  /// Quantizes a layer's weights by hand; forward and backward of this net
  /// without the quantizer are what the net with it has to compute.
  static void QuantizeByHand(const Net<Dtype>& net, const string& layer,
      int bits) {
    Blob<Dtype>* weight = net.layer_by_name(layer)->blobs()[0].get();
    CHECK_EQ(HI_GFPQ_QuantAndDeQuant(weight->mutable_cpu_data(),
        weight->count(), bits, NULL), GFPQ_SUCCESS);
  }

  static void ForwardBackward(Net<Dtype>* net) {
    Caffe::set_random_seed(1702);
    for (int i = 0; i < net->params().size(); ++i) {
      Blob<Dtype>* param = net->params()[i].get();
      caffe_set(param->count(), Dtype(0), param->mutable_cpu_diff());
    }
    net->ForwardFromTo(0, net->layers().size() - 1);
    net->Backward();
  }

  static void ExpectSameResults(const Net<Dtype>& a, const Net<Dtype>& b) {
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

  /// Compares a net that quantizes with a plain one quantized by hand.
  void Check(const string& second_name, const string& second_options,
      int first_bits, int second_bits) {
    shared_ptr<Net<Dtype> > net = MakeNet(NetText("weight_quant_param { } ",
        second_name, second_options));
    shared_ptr<Net<Dtype> > plain = MakeNet(NetText("", second_name));
    const vector<Dtype> masters = Weights(*net, "ip1");
    ASSERT_TRUE(masters == Weights(*plain, "ip1"));
    QuantizeByHand(*plain, "ip1", first_bits);
    if (second_bits != 0) {
      QuantizeByHand(*plain, second_name, second_bits);
    }
    ForwardBackward(net.get());
    ForwardBackward(plain.get());
    ExpectSameResults(*net, *plain);
    // The masters are as they were, and not all of them were codes.
    EXPECT_TRUE(Weights(*net, "ip1") == masters);
    EXPECT_FALSE(Weights(*plain, "ip1") == masters);
  }
};

TYPED_TEST_CASE(WeightQuantizerTest, TestDtypesAndDevices);

TYPED_TEST(WeightQuantizerTest, TestForwardBackward) {
  this->Check("ip2", "", 8, 8);
}

TYPED_TEST(WeightQuantizerTest, TestHighPrecisionName) {
  this->Check("ip2_hp", "", 8, 16);
}

TYPED_TEST(WeightQuantizerTest, TestLayerOptions) {
  this->Check("ip2", "quant_param { quant_bits: 16 }", 8, 16);
  this->Check("ip2", "quant_param { quant_en: 0 }", 8, 0);
}

TYPED_TEST(WeightQuantizerTest, TestDisabled) {
  typedef typename TypeParam::Dtype Dtype;
  shared_ptr<Net<Dtype> > net =
      this->MakeNet(this->NetText("weight_quant_param { quant_en: 0 } "));
  shared_ptr<Net<Dtype> > plain = this->MakeNet(this->NetText(""));
  this->ForwardBackward(net.get());
  this->ForwardBackward(plain.get());
  this->ExpectSameResults(*net, *plain);
}

TYPED_TEST(WeightQuantizerTest, TestSharedWithTestNet) {
  typedef typename TypeParam::Dtype Dtype;
  shared_ptr<Net<Dtype> > train =
      this->MakeNet(this->NetText("weight_quant_param { } "));
  shared_ptr<Net<Dtype> > test =
      this->MakeNet(this->NetText("weight_quant_param { } "));
  test->ShareTrainedLayersWith(train.get());
  this->ForwardBackward(train.get());
  this->ForwardBackward(test.get());
  this->ExpectSameResults(*train, *test);
  // An update of the train net's masters reaches the test net.
  Blob<Dtype>* weight = train->layer_by_name("ip1")->blobs()[0].get();
  weight->mutable_cpu_data()[0] += 1;
  EXPECT_EQ(test->layer_by_name("ip1")->blobs()[0]->cpu_data()[0],
      weight->cpu_data()[0]);
}

TYPED_TEST(WeightQuantizerTest, TestSmallStepsAreNotLost) {
  typedef typename TypeParam::Dtype Dtype;
  SolverParameter param;
  param.set_base_lr(1e-4);
  param.set_lr_policy("fixed");
  param.set_max_iter(20);
  param.set_snapshot_after_train(false);
  param.set_random_seed(1701);
  param.set_solver_mode(Caffe::mode() == Caffe::CPU ?
      SolverParameter_SolverMode_CPU : SolverParameter_SolverMode_GPU);
  param.mutable_net_param()->CopyFrom(
      this->Parse(this->NetText("weight_quant_param { } ")));
  SGDSolver<Dtype> solver(param);
  const vector<Dtype> before = this->Weights(*solver.net(), "ip1");
  solver.Step(1);
  const vector<Dtype> once = this->Weights(*solver.net(), "ip1");
  solver.Step(19);
  const vector<Dtype> after = this->Weights(*solver.net(), "ip1");
  for (int i = 0; i < before.size(); ++i) {
    // Far less than a code, 4% of the value, yet there: twenty steps add up.
    EXPECT_NE(once[i], before[i]);
    EXPECT_GT(fabs(after[i] - before[i]), 5 * fabs(once[i] - before[i]));
  }
}

}  // namespace caffe
