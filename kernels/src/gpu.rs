//! WebGPU.
//!
//! burn's matrix product stages tiles in workgroup memory, in tiles made for large matrices.
//! A prompt is a few rows, and a software adapter pays for every barrier: here each invocation computes a tile of its
//! own, 8 rows by 8 columns, straight from the buffers.
//! One pipeline serves every prompt length: the number of rows is read from the output's size.

use std::fmt::Write;

use burn::tensor::{Tensor, TensorPrimitive, activation};
use burn_wgpu::{AutoCompiler, CubeDim, CubeTensor, Wgpu, WgpuRuntime};
use cubecl::{
    CompilationError, Compiler, CubeTask,
    ir::StorageType,
    prelude::{CompiledKernel, CubeCount, ExecutionMode, KernelId, KernelMetadata},
    server::KernelArguments,
};
use swivel_core::kernel::{self, Kernels};

/// Kernels for WebGPU.
pub const GPU: Kernels<Wgpu> = Kernels {
    linear,
    hold: |weight| weight,
    gelu_new,
    silu: activation::silu,
    rms_norm: kernel::rms_norm,
    rotate: kernel::rotate,
    heads: kernel::heads,
    join_heads: kernel::join_heads,
    causal: kernel::causal_mask,
    softmax: |x| activation::softmax(x, 3),
};

/// Invocations of a workgroup.
const WIDTH: usize = 8;
const HEIGHT: usize = 4;

/// One generated shader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kernel {
    /// Weight `[d_input, d_output]`, both multiples of 4; tiles of `rows` by 8.
    Linear {
        d_input: usize,
        d_output: usize,
        rows: usize,
        bias: bool,
    },
    /// Weight stored as `[d_output, d_input]`, no bias, `d_input` a multiple of 4; tiles of `rows` by 4.
    LinearTransposed {
        d_input: usize,
        d_output: usize,
        rows: usize,
    },
    /// GELU of 4 values per invocation.
    Gelu,
}

fn linear(
    x: Tensor<Wgpu, 3>,
    weight: Tensor<Wgpu, 2>,
    bias: Option<Tensor<Wgpu, 1>>,
) -> Tensor<Wgpu, 3> {
    let ([batch, pos, d_input], [_, d_output]) = (x.dims(), weight.dims());
    let n_rows = batch * pos;
    let rows = [1, 2, 4]
        .into_iter()
        .find(|rows| n_rows <= *rows)
        .unwrap_or(8);
    let w = weight.clone().into_primitive().tensor();
    let is_transposed = w.meta.strides()[0] == 1 && w.meta.strides()[1] == d_input;
    let (kernel, columns) = if !d_input.is_multiple_of(4) {
        return kernel::linear(x, weight, bias);
    } else if is_transposed && bias.is_none() {
        let kernel = Kernel::LinearTransposed {
            d_input,
            d_output,
            rows,
        };
        (kernel, 4)
    } else if w.is_contiguous() && d_output.is_multiple_of(4) {
        let kernel = Kernel::Linear {
            d_input,
            d_output,
            rows,
            bias: bias.is_some(),
        };
        (kernel, 8)
    } else {
        return kernel::linear(x, weight, bias);
    };
    let input = x.clone().into_primitive().tensor();
    if !input.is_contiguous() {
        return kernel::linear(x, weight, bias);
    }
    let out = empty_like(&input, [batch, pos, d_output]);
    let mut buffers = vec![input, w];
    buffers.extend(bias.map(|bias| bias.into_primitive().tensor()));
    buffers.push(out.clone());
    let count = CubeCount::Static(
        d_output.div_ceil(columns * WIDTH) as u32,
        n_rows.div_ceil(rows * HEIGHT) as u32,
        1,
    );
    launch(kernel, count, buffers);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

fn gelu_new(x: Tensor<Wgpu, 3>) -> Tensor<Wgpu, 3> {
    let shape = x.dims();
    let n_groups = shape.iter().product::<usize>().div_ceil(4 * WIDTH * HEIGHT);
    let input = x.into_primitive().tensor();
    let out = empty_like(&input, shape);
    // At most 65,535 workgroups along an axis.
    let height = n_groups.div_ceil(1 << 15);
    let count = CubeCount::Static(n_groups.div_ceil(height) as u32, height as u32, 1);
    launch(Kernel::Gelu, count, vec![input, out.clone()]);
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

fn empty_like(x: &CubeTensor<WgpuRuntime>, shape: [usize; 3]) -> CubeTensor<WgpuRuntime> {
    let handle = x
        .client
        .empty(shape.iter().product::<usize>() * x.dtype.size());
    CubeTensor::new_contiguous(
        x.client.clone(),
        x.device.clone(),
        shape.into(),
        handle,
        x.dtype,
    )
}

fn launch(kernel: Kernel, count: CubeCount, buffers: Vec<CubeTensor<WgpuRuntime>>) {
    let client = buffers[0].client.clone();
    let buffers = buffers.into_iter().map(|x| x.handle.binding()).collect();
    let arguments = KernelArguments::new().with_buffers(buffers);
    client.launch(Box::new(kernel), count, arguments);
}

impl KernelMetadata for Kernel {
    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.clone())
    }

    fn address_type(&self) -> StorageType {
        cubecl::ir::ElemType::UInt(cubecl::ir::UIntKind::U32).into()
    }
}

impl CubeTask<AutoCompiler> for Kernel {
    fn compile(
        &self,
        _: &mut AutoCompiler,
        _: &<AutoCompiler as Compiler>::CompilationOptions,
        _: ExecutionMode,
        _: StorageType,
    ) -> Result<CompiledKernel<AutoCompiler>, CompilationError> {
        Ok(CompiledKernel {
            entrypoint_name: "main".to_owned(),
            debug_name: None,
            source: self.source(),
            cube_dim: CubeDim::new_2d(WIDTH as u32, HEIGHT as u32),
            debug_info: None,
            repr: None,
        })
    }
}

impl Kernel {
    /// WGSL. Every buffer is `read_write`: several may lie in one allocation, which has one usage in a dispatch.
    fn source(&self) -> String {
        match *self {
            Kernel::Linear {
                d_input,
                d_output,
                rows,
                bias,
            } => linear_source(d_input, d_output, rows, bias),
            Kernel::LinearTransposed {
                d_input,
                d_output,
                rows,
            } => transposed_source(d_input, d_output, rows),
            Kernel::Gelu => gelu_source(),
        }
    }
}

fn header(buffers: &[(&str, &str)]) -> String {
    let mut source = String::new();
    for (binding, (name, of)) in buffers.iter().enumerate() {
        let _ = writeln!(
            source,
            "@group(0) @binding({binding}) var<storage, read_write> {name}: array<{of}>;"
        );
    }
    source
        + &format!(
            "@compute @workgroup_size({WIDTH}, {HEIGHT}, 1)\nfn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {{\n"
        )
}

fn linear_source(d_input: usize, d_output: usize, rows: usize, bias: bool) -> String {
    let (k_end, width) = (d_input / 4, d_output / 4); // in vectors of 4
    let mut buffers = vec![("x", "vec4f"), ("weight", "vec4f")];
    buffers.extend(bias.then_some(("bias", "vec4f")));
    buffers.push(("out", "vec4f"));
    let mut s = header(&buffers);
    let _ = writeln!(
        s,
        "let n_rows = arrayLength(&out) / {width}u;
        let column0 = id.x * 2u;
        if (column0 >= {width}u || id.y * {rows}u >= n_rows) {{ return; }}
        let column1 = min(column0 + 1u, {}u);",
        width - 1
    );
    for i in 0..rows {
        let _ = writeln!(s, "let row{i} = min(id.y * {rows}u + {i}u, n_rows - 1u);");
        for j in 0..2 {
            let start = if bias {
                format!("bias[column{j}]")
            } else {
                "vec4f()".to_owned()
            };
            let _ = writeln!(s, "var sum{i}_{j} = {start};");
        }
    }
    let _ = writeln!(s, "for (var k = 0u; k < {k_end}u; k += 1u) {{");
    for i in 0..rows {
        let _ = writeln!(s, "let x{i} = x[row{i} * {k_end}u + k];");
    }
    for (part, component) in ["x", "y", "z", "w"].into_iter().enumerate() {
        for j in 0..2 {
            let _ = writeln!(
                s,
                "let w{part}_{j} = weight[(4u * k + {part}u) * {width}u + column{j}];"
            );
            for i in 0..rows {
                let _ = writeln!(
                    s,
                    "sum{i}_{j} = fma(vec4f(x{i}.{component}), w{part}_{j}, sum{i}_{j});"
                );
            }
        }
    }
    s += "}\n";
    // Clamped rows and columns write what their neighbour writes.
    for i in 0..rows {
        for j in 0..2 {
            let _ = writeln!(s, "out[row{i} * {width}u + column{j}] = sum{i}_{j};");
        }
    }
    s + "}\n"
}

fn transposed_source(d_input: usize, d_output: usize, rows: usize) -> String {
    let k_end = d_input / 4; // in vectors of 4
    let mut s = header(&[("x", "vec4f"), ("weight", "vec4f"), ("out", "f32")]);
    let _ = writeln!(
        s,
        "let n_rows = arrayLength(&out) / {d_output}u;
        if (id.x * 4u >= {d_output}u || id.y * {rows}u >= n_rows) {{ return; }}"
    );
    for j in 0..4 {
        let _ = writeln!(
            s,
            "let column{j} = min(id.x * 4u + {j}u, {}u);",
            d_output - 1
        );
    }
    for i in 0..rows {
        let _ = writeln!(s, "let row{i} = min(id.y * {rows}u + {i}u, n_rows - 1u);");
        let _ = writeln!(s, "var sum{i} = vec4f();");
    }
    let _ = writeln!(s, "for (var k = 0u; k < {k_end}u; k += 1u) {{");
    for j in 0..4 {
        let _ = writeln!(s, "let w{j} = weight[column{j} * {k_end}u + k];");
    }
    for i in 0..rows {
        let _ = writeln!(
            s,
            "let x{i} = x[row{i} * {k_end}u + k];
            sum{i} += vec4f(dot(x{i}, w0), dot(x{i}, w1), dot(x{i}, w2), dot(x{i}, w3));"
        );
    }
    s += "}\n";
    for i in 0..rows {
        for (j, component) in ["x", "y", "z", "w"].into_iter().enumerate() {
            let _ = writeln!(
                s,
                "out[row{i} * {d_output}u + column{j}] = sum{i}.{component};"
            );
        }
    }
    s + "}\n"
}

fn gelu_source() -> String {
    header(&[("x", "f32"), ("out", "f32")])
        + &format!(
            "let start = 4u * (id.x + {WIDTH}u * count.x * id.y);
            for (var i = start; i < min(start + 4u, arrayLength(&out)); i += 1u) {{
                let v = x[i];
                let u = v * (1.5957691216 + 0.0713548162726 * v * v);
                out[i] = v / (1.0 + exp(min(-u, 80.0)));
            }}
        }}\n"
        )
}
