const greeting = 'hello from the workspace'

document.querySelector('#greeting').textContent = greeting

if (import.meta.hot) {
  import.meta.hot.accept()
}
