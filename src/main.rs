fn main() {
    for crd in berth::api::crd::all() {
        print!("---\n{}", serde_yaml::to_string(&crd).unwrap_or_default());
    }
}
