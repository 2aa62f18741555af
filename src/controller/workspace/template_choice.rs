//! Which Template a Workspace is made from. Pure: the candidates are given.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::{
    api::{Template, TemplateRef, condition},
    config::Config,
};

use super::problem::Problem;

/// Where Templates are looked up: the operator's cache.
pub trait Templates {
    /// A Template by namespace and name.
    fn get(&self, namespace: &str, name: &str) -> Option<std::sync::Arc<Template>>;
    /// All Templates of a namespace.
    fn of_namespace(&self, namespace: &str) -> Vec<std::sync::Arc<Template>>;
}

/// The Template of a Workspace: the one it names, else the default of its namespace, else the
/// configured one. One that is named but can not be used is never replaced by another.
pub fn choose(
    namespace: &str,
    named: Option<&TemplateRef>,
    config: &Config,
    templates: &dyn Templates,
) -> Result<std::sync::Arc<Template>, Problem> {
    let missing = |reason, message: String| Problem::transient(condition::TEMPLATE_RESOLVED, reason, message);
    if let Some(reference) = named {
        let home = reference.namespace.as_deref().unwrap_or(namespace);
        if home != namespace && !config.shares_templates(home) {
            return Err(Problem::permanent(
                condition::TEMPLATE_RESOLVED,
                "TemplateForbidden",
                format!("spec.templateRef.namespace: Templates of namespace {home:?} are not shared"),
            )
            .hint("name a Template of the own namespace, or have the administrator list that one in templates.sharedNamespaces"));
        }
        return templates.get(home, &reference.name).ok_or_else(|| {
            missing("TemplateNotFound", format!("Template {home}/{} does not exist", reference.name))
                .hint("the workspace goes on by itself as soon as it does")
        });
    }
    if let Some(default) = default_of(&templates.of_namespace(namespace)) {
        return Ok(default);
    }
    match &config.templates.default {
        Some(default) => templates.get(&default.namespace, &default.name).ok_or_else(|| {
            missing(
                "TemplateNotFound",
                format!(
                    "the configured default Template {}/{} does not exist",
                    default.namespace, default.name
                ),
            )
        }),
        None => Err(missing(
            "NoDefaultTemplate",
            format!("no Template is named, and namespace {namespace:?} has none that could be the default"),
        )
        .hint("create a Template in this namespace, or name one in spec.templateRef")),
    }
}

/// The default Template among those of one namespace: the one marked, else any; the oldest of
/// them, and the first by name of those of the same age.
pub fn default_of(templates: &[std::sync::Arc<Template>]) -> Option<std::sync::Arc<Template>> {
    templates
        .iter()
        .filter(|template| template.metadata.deletion_timestamp.is_none())
        .min_by_key(|template| {
            let created = template.creation_timestamp().map(|Time(time)| time);
            (!template.spec.default, created, template.name_any())
        })
        .cloned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Fixed(Vec<Arc<Template>>);

    impl Templates for Fixed {
        fn get(&self, namespace: &str, name: &str) -> Option<Arc<Template>> {
            self.of_namespace(namespace).into_iter().find(|template| template.name_any() == name)
        }
        fn of_namespace(&self, namespace: &str) -> Vec<Arc<Template>> {
            let home = Some(namespace.to_owned());
            self.0.iter().filter(|template| template.namespace() == home).cloned().collect()
        }
    }

    fn template(namespace: &str, name: &str, created: i64, default: bool) -> Arc<Template> {
        let mut template = Template::new(name, crate::api::TemplateSpec { default, ..Default::default() });
        template.metadata.namespace = Some(namespace.to_owned());
        template.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(created).unwrap()));
        Arc::new(template)
    }

    fn config(extra: &str) -> Config {
        serde_yaml::from_str(&format!("backends: [{{name: a, memory: {{}}}}]\n{extra}")).unwrap()
    }

    fn reference(name: &str, namespace: Option<&str>) -> TemplateRef {
        TemplateRef { name: name.to_owned(), namespace: namespace.map(str::to_owned) }
    }

    #[rstest::rstest]
    #[case::the_marked_one(&[("b", 2, true), ("a", 1, false)], "b")]
    #[case::the_oldest_marked_one(&[("c", 3, true), ("b", 2, true), ("a", 1, false)], "b")]
    #[case::the_oldest_where_none_is_marked(&[("b", 1, false), ("a", 2, false)], "b")]
    #[case::the_first_by_name_of_the_same_age(&[("b", 1, false), ("a", 1, false)], "a")]
    fn the_default_of_a_namespace(#[case] list: &[(&str, i64, bool)], #[case] expected: &str) {
        let all =
            list.iter().map(|(name, created, default)| template("ns", name, *created, *default)).collect();
        let chosen = choose("ns", None, &config(""), &Fixed(all)).unwrap();
        assert_eq!(chosen.name_any(), expected);
    }

    #[test]
    fn a_named_template_is_never_replaced() {
        let all = Fixed(vec![template("ns", "default", 1, true)]);
        let problem = choose("ns", Some(&reference("other", None)), &config(""), &all).unwrap_err();
        assert_eq!(problem.reason, "TemplateNotFound");
        assert_eq!(problem.message, "Template ns/other does not exist");
    }

    #[test]
    fn templates_of_other_namespaces_must_be_shared() {
        let all = Fixed(vec![template("shared", "t", 1, false)]);
        let named = reference("t", Some("shared"));
        assert_eq!(choose("ns", Some(&named), &config(""), &all).unwrap_err().reason, "TemplateForbidden");
        let open = config("templates: {sharedNamespaces: [shared]}");
        assert_eq!(choose("ns", Some(&named), &open, &all).unwrap().name_any(), "t");
    }

    #[test]
    fn the_configured_default_comes_last() {
        let all = Fixed(vec![template("shared", "t", 1, false)]);
        let configured = config("templates: {default: {namespace: shared, name: t}}");
        assert_eq!(choose("ns", None, &configured, &all).unwrap().name_any(), "t");
        assert_eq!(choose("ns", None, &config(""), &all).unwrap_err().reason, "NoDefaultTemplate");
    }
}
