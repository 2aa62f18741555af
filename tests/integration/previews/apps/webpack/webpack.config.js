module.exports = {
  mode: 'development',
  entry: './src/main.js',
  devServer: {
    host: '127.0.0.1',
    static: false,
    // The browser is on another port than the dev server: this takes the page's own.
    client: { webSocketURL: 'auto://0.0.0.0:0/ws' },
  },
}
